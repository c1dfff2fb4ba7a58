using Nibble.Recipes;

namespace Nibble.Models;

/// <summary>The purpose of a model, which is what its head yields.</summary>
public enum ModelTask
{
    /// <summary>The next token of a text.</summary>
    LanguageModelling,

    /// <summary>The class of a text, or of a pair of texts.</summary>
    Classification,

    /// <summary>One number per text, or per pair of texts.</summary>
    Regression,

    /// <summary>One vector per text. Texts with similar meaning have similar vectors.</summary>
    Embedding,
}

/// <summary>A tensor of a model.</summary>
/// <param name="Name">Its name in the checkpoint.</param>
/// <param name="Shape">Its shape.</param>
public sealed record TensorDefinition(string Name, IReadOnlyList<long> Shape)
{
    /// <summary>The number of values.</summary>
    public long Count => Shape.Aggregate(1L, (product, size) => product * size);
}

/// <summary>A model as described by its <c>config.json</c>: its sizes, its tensors and the layers that a recipe's rules can match.</summary>
/// <remarks>
/// A model has an input part, which turns tokens into vectors, a sequence of blocks, and a head, which turns vectors into the task's output.
/// Families derive from this class. It needs no native library.
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

    /// <summary>The number of blocks.</summary>
    public required int Layers { get; init; }

    /// <summary>The token that pads short sequences.</summary>
    public int PaddingId { get; init; }

    /// <summary>The model's task; null if its checkpoint has no head and names no task.</summary>
    public abstract ModelTask? Task { get; }

    /// <summary>The longest sequence that the model takes, in tokens.</summary>
    public abstract int MaxSequence { get; }

    /// <summary>The tensors before the first block.</summary>
    public abstract IReadOnlyList<TensorDefinition> InputTensors { get; }

    /// <summary>The tensors after the last block.</summary>
    public abstract IReadOnlyList<TensorDefinition> HeadTensors { get; }

    /// <summary>The prefix of the names of a block's tensors and layers, such as <c>model.layers.0.</c>.</summary>
    /// <param name="block">The block's index, from 0.</param>
    public abstract string BlockPrefix(int block);

    /// <summary>The tensors of a block, by their names inside it.</summary>
    /// <param name="block">The block's index, from 0.</param>
    public abstract IReadOnlyList<TensorDefinition> BlockTensors(int block);

    /// <summary>A layer after the blocks that shares a table of the input part, by the names of both; null if there is none.</summary>
    public virtual (string Layer, string Table)? Tied => null;

    /// <summary>A <c>config.json</c> whose model has a separate matrix for the tied layer.</summary>
    /// <param name="configJson">The text of this model's <c>config.json</c>.</param>
    public virtual string Untie(string configJson) => configJson;

    /// <summary>A <c>config.json</c> whose layers all have biases; unchanged if they already have them or cannot have them.</summary>
    /// <param name="configJson">The text of this model's <c>config.json</c>.</param>
    public virtual string AddBiases(string configJson) => configJson;

    /// <summary>Whether checkpoints may hold a tensor that is not part of the model: one that it computes itself, or a copy of another.</summary>
    public virtual bool IsIgnored(string tensor) => false;

    /// <summary>Whether a layer is a lookup table, and so has no input that could be quantized.</summary>
    public virtual bool IsTable(string layer) => false;

    /// <summary>Matrices that no rule can match, and the reasons.</summary>
    public virtual IReadOnlyList<KeptLayer> OutOfReach => [];

    /// <summary>Matrices that a recipe leaves in float whatever its patterns match, and the reasons: those that no rule can match, and those that a rule must
    /// name.</summary>
    public virtual IReadOnlyList<KeptLayer> KeptBy(Recipe recipe) => OutOfReach;

    /// <summary>The recipe for this family: with the family's own rules where the recipe has none.</summary>
    public virtual Recipe Complete(Recipe recipe) => recipe;

    /// <summary>The sizes that costs depend on.</summary>
    /// <param name="name">The model's name.</param>
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

    /// <summary>The layers after the last block.</summary>
    public IReadOnlyList<ModelLayer> HeadLayers => [.. HeadTensors.Where(IsMatrix).Select(ToLayer)];

    /// <summary>The layers of a block, in the order of its tensors.</summary>
    public IReadOnlyList<ModelLayer> LayersOf(int block) => [.. TensorsOf(block).Where(IsMatrix).Select(ToLayer)];

    /// <summary>The tensors of a block, by their full names.</summary>
    public IEnumerable<TensorDefinition> TensorsOf(int block) =>
        BlockTensors(block).Select(tensor => tensor with { Name = BlockPrefix(block) + tensor.Name });

    /// <summary>A weight matrix and its bias, if it has one.</summary>
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
