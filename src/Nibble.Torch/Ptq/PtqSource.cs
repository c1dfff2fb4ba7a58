using Nibble.Files;
using Nibble.Algorithms;
using Nibble.Artifacts;
using Nibble.Formats.Safetensors;
using Nibble.Models;
using Nibble.Recipes;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Torch.Ptq;

/// <summary>
/// The float model that a recipe quantizes, one part at a time: the checkpoint, with the rotation and the additional biases that the recipe requires.
/// </summary>
internal sealed class PtqSource : IDisposable
{
    private const string WeightSuffix = ".weight";

    private readonly FloatCheckpoint checkpoint;
    private readonly Recipe recipe;
    private readonly IModelParts parts;
    private readonly IModelRotation? rotation;
    private readonly IInputPart input;
    private readonly bool holdsWords;

    /// <summary>Prepares a model.</summary>
    /// <param name="checkpoint">The checkpoint.</param>
    /// <param name="recipe">The recipe, completed for the family.</param>
    /// <param name="seed">The seed of the rotation.</param>
    /// <exception cref="NibbleException">The family does not support the recipe.</exception>
    public PtqSource(FloatCheckpoint checkpoint, Recipe recipe, long seed)
    {
        this.checkpoint = checkpoint;
        this.recipe = recipe;
        var definition = checkpoint.Definition;
        ConfigJson = checkpoint.ConfigJson;
        if (recipe.Rotation != Rotation.None || TiedHead.IsNamed(recipe, definition))
        {
            ConfigJson = definition.Untie(ConfigJson);
        }

        if (recipe.Rules.Any(rule => rule.Algorithms.BiasCorrection))
        {
            ConfigJson = definition.AddBiases(ConfigJson);
        }

        Definition = ModelFamilies.Parse(ConfigJson, checkpoint.Folder);
        parts = ModuleFamilies.Of(Definition).CreateParts(Definition);
        try
        {
            if (recipe.Rotation == Rotation.Hadamard)
            {
                rotation = parts.CreateRotation(seed)
                    ?? throw new NibbleException($"{checkpoint.Name}: the recipe '{recipe.Name}' rotates the model, which is not supported for models of type "
                        + $"{Definition.ModelType}. Use a recipe without rotation");
            }

            input = parts.CreateInput();
            holdsWords = recipe.RuleFor(input.Words.Key[..^WeightSuffix.Length]) is not null && input.Tables.Any(table => Is(table, input.Words.Key));
            checkpoint.Load(string.Empty, holdsWords ? [.. input.Parameters, input.Words] : input.Parameters);
            Tables = Quantize(input.Tables);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The <c>config.json</c> of the model to quantize.</summary>
    public string ConfigJson { get; }

    /// <summary>The model to quantize.</summary>
    public ModelDefinition Definition { get; }

    /// <summary>
    /// The embedding tables before the first block that the recipe quantizes. They are rounded to nearest, because they have no inputs that an algorithm could
    /// use.
    /// </summary>
    public IReadOnlyList<QuantizedLayer> Tables { get; }

    /// <summary>Reads a unit: a block, or the head after the last one.</summary>
    public QuantizationUnit Load(int number, Device device)
    {
        using var guard = no_grad();
        var isHead = number == Definition.Layers;
        var unit = new QuantizationUnit(
            isHead ? parts.CreateHead()! : parts.CreateBlock(number), isHead ? string.Empty : Definition.BlockPrefix(number));
        checkpoint.Load(string.Empty, unit.Parameters);
        if (rotation is not null)
        {
            if (isHead)
            {
                rotation.TurnHead(unit.Block);
            }
            else
            {
                // An artifact stores the rotation of an input with the quantized layer that reads it.
                rotation.TurnBlock(unit.Block, layer => recipe.RuleFor(unit.Prefix + layer) is not null);
                KeyValueQuantizers.Rotate(unit.Block, recipe);
            }
        }

        unit.Block.Module.to(device);
        return unit;
    }

    /// <summary>The input of the first block for some tokens.</summary>
    /// <param name="batch">The tokens.</param>
    public Tensor Embed(ModelBatch batch)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var embedded = holdsWords ? input.Embed(batch) : input.Embed(batch, checkpoint.Rows(input.Words.Key, batch.Ids));
        return (rotation is null ? embedded : Conversion.RoundTo(rotation.TurnOuter(input.Words.Key, embedded, ReadWhole), StoredAs(input.Words.Key)))
            .MoveToOuterDisposeScope();
    }

    /// <summary>The element type that a tensor is stored in. A tensor that the checkpoint lacks is stored like the one that it belongs to.</summary>
    public ElementType StoredAs(string tensor) =>
        checkpoint.Contains(tensor) ? checkpoint.StoredAs(tensor)
        : checkpoint.Contains(checkpoint.SourceOf(tensor)) ? checkpoint.StoredAs(checkpoint.SourceOf(tensor))
        : checkpoint.StoredAs(Path.ChangeExtension(tensor, "weight"));

    /// <summary>Whether the input part has tables that a recipe decides about. In that case it is a separate part of the artifact.</summary>
    public bool HasTables => input.Tables.Count > 0;

    /// <summary>The float tensors of the input part, as stored in the artifact.</summary>
    public List<FloatTensor> InputFloats()
    {
        var quantized = Tables.Select(table => table.Name + WeightSuffix).ToHashSet(StringComparer.Ordinal);
        var values = input.Parameters.Append(input.Words).ToDictionary(item => item.Key, item => item.Value, StringComparer.Ordinal);
        if (!holdsWords)
        {
            checkpoint.Load(input.Words.Key, input.Words.Value);
        }

        return [.. Definition.InputTensors.Where(tensor => !quantized.Contains(tensor.Name))
            .Select(tensor => Conversion.Stored(tensor.Name, values[tensor.Name], StoredAs(tensor.Name)))];
    }

    /// <summary>The float tensors that are in no part, copied a few rows at a time.</summary>
    /// <param name="head">Whether to include those after the last block. False if the head is quantized.</param>
    public IEnumerable<SafetensorsTensor> OuterTensors(bool head)
    {
        foreach (var tensor in OuterDefinitions(head))
        {
            var (name, type) = (tensor.Name, StoredAs(tensor.Name));
            yield return new SafetensorsTensor(name, type, [.. tensor.Shape], rotation is null
                ? stream => checkpoint.CopyTo(name, stream)
                : stream => CopyTurned(tensor, type, stream));
        }
    }

    /// <summary>The tensors that are in no part.</summary>
    /// <param name="head">Whether to include those after the last block.</param>
    public IEnumerable<TensorDefinition> OuterDefinitions(bool head) => (HasTables ? [] : Definition.InputTensors).Concat(head ? Definition.HeadTensors : []);

    /// <inheritdoc/>
    public void Dispose()
    {
        rotation?.Dispose();
        input?.Dispose();
        parts.Dispose();
    }

    private static bool Is(KeyValuePair<string, IQuantizableLayer> table, string tensor) => table.Key + WeightSuffix == tensor;

    private List<QuantizedLayer> Quantize(IEnumerable<KeyValuePair<string, IQuantizableLayer>> tables)
    {
        var quantized = new List<QuantizedLayer>();
        foreach (var (name, table) in tables)
        {
            if (recipe.RuleFor(name) is { Weights: { } scheme } rule)
            {
                var (rows, columns) = ((int)table.Weight.shape[0], (int)table.Weight.shape[1]);
                var codes = NamedFault.In(name, () => RoundToNearest.Quantize(Conversion.ValuesOf(table.Weight), rows, columns, scheme, rule.Range));
                Conversion.CopyInto(table.Weight, codes.Dequantize());
                quantized.Add(new QuantizedLayer(name, codes, null));
            }
        }

        return quantized;
    }

    private Tensor ReadWhole(string name) => checkpoint.Rows(name, 0, (int)Definition.Tensors.First(tensor => tensor.Name == name).Shape[0]);

    private void CopyTurned(TensorDefinition tensor, ElementType type, Stream stream)
    {
        const int Rows = 1024;
        for (var first = 0; first < tensor.Shape[0]; first += Rows)
        {
            using var scope = NewDisposeScope();
            var rows = checkpoint.Rows(checkpoint.SourceOf(tensor.Name), first, (int)Math.Min(Rows, tensor.Shape[0] - first));
            stream.Write(type.ToBytes(Conversion.ValuesOf(rotation!.TurnOuter(tensor.Name, rows, ReadWhole))));
        }
    }
}
