using Nibble.Recipes;

namespace Nibble.Models;

/// <summary>What a model is for: what its head yields.</summary>
public enum ModelTask
{
    /// <summary>The next token of a text.</summary>
    LanguageModelling,

    /// <summary>The class of a text, or of a pair of texts.</summary>
    Classification,

    /// <summary>A number for a text, or for a pair of texts.</summary>
    Regression,

    /// <summary>A vector for a text, near to those of texts that mean the same.</summary>
    Embedding,
}

/// <summary>A tensor of a model.</summary>
/// <param name="Name">Its name in the checkpoint.</param>
/// <param name="Shape">Its shape.</param>
public sealed record TensorDefinition(string Name, IReadOnlyList<long> Shape)
{
    /// <summary>How many values it has.</summary>
    public long Count => Shape.Aggregate(1L, (product, size) => product * size);
}

/// <summary>What a model is, as its <c>config.json</c> says: its sizes, its tensors and the layers that a recipe decides about.</summary>
/// <remarks>
/// A model is a row of blocks behind an input part, which turns tokens into vectors, and before a head, which turns vectors into what the task asks for.
/// Families derive from this class; none of it needs a native library.
/// </remarks>
public abstract record ModelDefinition
{
    private const string WeightSuffix = ".weight";

    /// <summary>The <c>model_type</c>.</summary>
    public required string ModelType { get; init; }

    /// <summary>Tokens in the vocabulary.</summary>
    public required int VocabularySize { get; init; }

    /// <summary>Width of the residual stream.</summary>
    public required int HiddenSize { get; init; }

    /// <summary>Blocks.</summary>
    public required int Layers { get; init; }

    /// <summary>The token that fills up short sequences.</summary>
    public int PaddingId { get; init; }

    /// <summary>What the model is for; null where its checkpoint has no head and says nothing.</summary>
    public abstract ModelTask? Task { get; }

    /// <summary>The longest sequence that the model takes, in tokens.</summary>
    public abstract int MaxSequence { get; }

    /// <summary>The tensors before the first block.</summary>
    public abstract IReadOnlyList<TensorDefinition> InputTensors { get; }

    /// <summary>The tensors behind the last block.</summary>
    public abstract IReadOnlyList<TensorDefinition> HeadTensors { get; }

    /// <summary>What the names of a block's tensors and layers start with, such as <c>model.layers.0.</c>.</summary>
    /// <param name="block">Its number, from 0.</param>
    public abstract string BlockPrefix(int block);

    /// <summary>The tensors of a block, by their names inside it.</summary>
    /// <param name="block">Its number, from 0.</param>
    public abstract IReadOnlyList<TensorDefinition> BlockTensors(int block);

    /// <summary>A layer behind the blocks that is a table of the input part, by the names of both; null where no layer is.</summary>
    public virtual (string Layer, string Table)? Tied => null;

    /// <summary>The text of a <c>config.json</c> whose model has a matrix of its own for the layer that was tied.</summary>
    /// <param name="configJson">The text of this model's.</param>
    public virtual string Untie(string configJson) => configJson;

    /// <summary>The text of a <c>config.json</c> whose layers all have biases; as it is, where they have them already or cannot have them.</summary>
    /// <param name="configJson">The text of this model's.</param>
    public virtual string AddBiases(string configJson) => configJson;

    /// <summary>Whether checkpoints may hold a tensor that is not the model's own: one that it computes itself, or that repeats another.</summary>
    public virtual bool IsIgnored(string tensor) => false;

    /// <summary>Whether a layer looks rows up, and so has no input that could be quantized.</summary>
    public virtual bool IsTable(string layer) => false;

    /// <summary>Matrices that no rule reaches, and why.</summary>
    public virtual IReadOnlyList<KeptLayer> OutOfReach => [];

    /// <summary>Matrices that a recipe leaves in float whatever its patterns match, and why: those that no rule reaches, and those that a rule must
    /// name.</summary>
    public virtual IReadOnlyList<KeptLayer> KeptBy(Recipe recipe) => OutOfReach;

    /// <summary>What a recipe means for this family: with the rules that the family adds where the recipe does not say.</summary>
    public virtual Recipe Complete(Recipe recipe) => recipe;

    /// <summary>The sizes that costs depend on.</summary>
    /// <param name="name">What to call the model.</param>
    public abstract ModelShape ShapeOf(string name);

    /// <summary>All tensors, in the model's order.</summary>
    public IEnumerable<TensorDefinition> Tensors =>
        [.. InputTensors, .. Enumerable.Range(0, Layers).SelectMany(TensorsOf), .. HeadTensors];

    /// <summary>The layers that a rule can quantize, in the model's order.</summary>
    public IReadOnlyList<ModelLayer> QuantizableLayers
    {
        get
        {
            var kept = OutOfReach.Select(layer => layer.Name).ToHashSet(StringComparer.Ordinal);
            return [.. Tensors.Where(IsMatrix).Select(ToLayer).Where(layer => !kept.Contains(layer.Name))];
        }
    }

    /// <summary>The layers behind the last block.</summary>
    public IReadOnlyList<ModelLayer> HeadLayers => [.. HeadTensors.Where(IsMatrix).Select(ToLayer)];

    /// <summary>The layers of a block, in the order of its tensors.</summary>
    public IReadOnlyList<ModelLayer> LayersOf(int block) => [.. TensorsOf(block).Where(IsMatrix).Select(ToLayer)];

    /// <summary>The tensors of a block, by their full names.</summary>
    public IEnumerable<TensorDefinition> TensorsOf(int block) =>
        BlockTensors(block).Select(tensor => tensor with { Name = BlockPrefix(block) + tensor.Name });

    /// <summary>A weight matrix with its bias, where it has one.</summary>
    protected static IEnumerable<TensorDefinition> Linear(string name, long rows, long columns, bool bias)
    {
        yield return new TensorDefinition(name + WeightSuffix, [rows, columns]);
        if (bias)
        {
            yield return new TensorDefinition(name + ".bias", [rows]);
        }
    }

    private static bool IsMatrix(TensorDefinition tensor) => tensor.Shape.Count == 2 && tensor.Name.EndsWith(WeightSuffix, StringComparison.Ordinal);

    private ModelLayer ToLayer(TensorDefinition tensor)
    {
        var name = tensor.Name[..^WeightSuffix.Length];
        return new ModelLayer(name, (int)tensor.Shape[0], (int)tensor.Shape[1]) { HasInput = !IsTable(name) };
    }
}
