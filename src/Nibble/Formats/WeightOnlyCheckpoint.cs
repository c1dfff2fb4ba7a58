using Nibble.Artifacts;
using Nibble.Files;
using Nibble.Formats.CompressedTensors;
using Nibble.Formats.HuggingFace;
using Nibble.Formats.Safetensors;
using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble.Formats;

/// <summary>The common part of GPTQ and AWQ checkpoints: linear layers of one scheme with float inputs, and all other tensors unchanged.</summary>
internal static class WeightOnlyCheckpoint
{
    /// <summary>The name of the tensor with a layer's codes, in both formats.</summary>
    public const string Codes = "qweight";

    /// <summary>The name of the head.</summary>
    public const string Head = "lm_head";


    /// <summary>The common scheme of a model's layers.</summary>
    /// <param name="model">The model.</param>
    /// <param name="format">The name of the format.</param>
    /// <exception cref="NibbleException">The format cannot hold the model.</exception>
    public static QuantizationScheme SchemeOf(QuantizedModel model, string format)
    {
        if (model.Layers.Count == 0)
        {
            throw new NibbleException($"No layer of the model is quantized, expected at least one for {format}; quantize it first.");
        }

        if (model.Recipe.KeyValueCache is not null)
        {
            throw new NibbleException($"The recipe '{model.Recipe.Name}' quantizes the key-value cache, which {format} cannot describe; quantize without -kv.");
        }

        var scheme = model.Layers[0].Weight.Scheme;
        foreach (var layer in model.Layers)
        {
            Require(layer.Input is null, layer, "quantizes its input, expected float inputs; quantize with a recipe such as w4a16-g128");
            Require(layer.InputTransform == InputTransform.None, layer, "transforms its input, which only Nibble computes; quantize without rotation");
            Require(layer.Shape is null, layer, "is a convolution, expected linear layers; keep it float");
            Require(layer.Weight.Scheme.Format == CodeFormat.Integer, layer,
                $"has {layer.Weight.Scheme} codes, expected integers with a zero point");
            Require(layer.Weight.Scheme.Granularity is PerChannel or PerGroup, layer,
                $"has one scale per {layer.Weight.Scheme.Granularity}, expected one per channel or group");
            Require(layer.Weight.Scheme == scheme, layer,
                $"has {layer.Weight.Scheme} weights, but {model.Layers[0].Name} has {scheme}; expected one scheme for all quantized layers");
            Require(Array.TrueForAll(layer.Weight.Scales, scale => (float)(Half)scale == scale), layer,
                "has scales that binary16 cannot represent; quantize with scale: float16");
        }

        return scheme;

        void Require(bool holds, QuantizedLayer layer, string fault)
        {
            if (!holds)
            {
                throw new NibbleException($"{format} cannot hold the layer {layer.Name}: it {fault}.");
            }
        }
    }

    /// <summary>The tensors that stay float.</summary>
    public static IEnumerable<SafetensorsTensor> FloatTensors(QuantizedModel model) =>
        model.FloatTensors.Select(
            tensor => SafetensorsTensor.FromFloats(tensor.Name, tensor.StoredAs, [.. tensor.Shape.Select(size => (long)size)], tensor.Values));

    /// <summary>The modules whose weight matrices stay float, without embeddings and the head.</summary>
    public static IReadOnlyList<string> FloatModules(QuantizedModel model) =>
        [.. FloatMatrices(model.FloatTensors).Where(name => name != Head).Order(StringComparer.Ordinal)];

    private static IEnumerable<string> FloatMatrices(IEnumerable<FloatTensor> tensors) =>
        tensors.Where(tensor => tensor.Shape.Count == 2 && tensor.Name.EndsWith(".weight", StringComparison.Ordinal))
            .Select(tensor => tensor.Name[..^".weight".Length])
            .Where(name => !name.Contains("embed", StringComparison.Ordinal));

    /// <summary>The names of a checkpoint's quantized layers.</summary>
    public static IReadOnlyList<string> LayersOf(Checkpoint checkpoint) =>
        [.. checkpoint.TensorsInOrder.Where(name => name.EndsWith("." + Codes, StringComparison.Ordinal)).Select(name => name[..^(Codes.Length + 1)])];

    /// <summary>Creates a model from a checkpoint's layers and its other tensors.</summary>
    /// <param name="checkpoint">The checkpoint.</param>
    /// <param name="method">The quantization method, for example <c>gptq</c>.</param>
    /// <param name="read">Reads a layer by name.</param>
    /// <param name="parts">The suffixes of a layer's tensor names.</param>
    /// <exception cref="NibbleException">A tensor is missing or contradicts the configuration.</exception>
    public static QuantizedModel Read(Checkpoint checkpoint, string method, Func<string, QuantizedTensor> read, IReadOnlySet<string> parts)
    {
        var names = LayersOf(checkpoint);
        if (names.Count == 0)
        {
            throw new NibbleException($"{checkpoint.Folder}: no tensor's name ends in .{Codes}, expected the tensors of a {method} checkpoint.");
        }

        var own = names.SelectMany(name => parts.Select(part => $"{name}.{part}")).ToHashSet(StringComparer.Ordinal);
        List<QuantizedLayer> layers = [.. names.Select(name => new QuantizedLayer(name, read(name), Input: null))];
        return Join(checkpoint, method, layers, own);
    }

    /// <summary>Creates a model from its layers and all other tensors of a checkpoint.</summary>
    /// <exception cref="NibbleException">One of the other tensors is not floating-point.</exception>
    public static QuantizedModel Join(Checkpoint checkpoint, string method, IReadOnlyList<QuantizedLayer> layers, HashSet<string> own)
    {
        List<FloatTensor> floats = [.. checkpoint.TensorsInOrder.Where(name => !own.Contains(name)).Select(name => Float(checkpoint, name))];
        var recipe = new Recipe($"imported-{method}", ImportedRules.Of(layers, FloatMatrices(floats)));
        return new QuantizedModel(
            QuantizationConfigReader.Remove(checkpoint.ConfigJson), layers, floats, recipe,
            new Provenance(method, "ptq", Seed: 0, checkpoint.Hashes(), new Dictionary<string, double>()), checkpoint.Folder);
    }

    /// <summary>Reads a tensor with a known type and shape.</summary>
    public static byte[] Bytes(Checkpoint checkpoint, string name, ElementType type, params ReadOnlySpan<long> shape)
    {
        var entry = checkpoint.Entry(name);
        if (entry.ElementType != type || !shape.SequenceEqual([.. entry.Shape]))
        {
            throw new NibbleException(
                $"{checkpoint.Folder}, {name}: expected {type} [{string.Join(", ", shape.ToArray())}], found {entry.ElementType} "
                + $"[{string.Join(", ", entry.Shape)}].");
        }

        if (entry.ByteLength > Array.MaxLength)
        {
            throw new NibbleException(
                $"{checkpoint.Folder}, {name}: the tensor has {entry.ByteLength} bytes; codes of at most {Array.MaxLength} bytes can be read.");
        }

        var bytes = new byte[(int)entry.ByteLength];
        using var stream = new MemoryStream(bytes);
        checkpoint.CopyTo(name, stream);
        return bytes;
    }

    /// <summary>Reads scales of shape [groups, out] as one row per output.</summary>
    public static float[] Scales(Checkpoint checkpoint, string name, int groups, int outputs)
    {
        var entry = checkpoint.Entry(name);
        if (entry.ElementType is not (ElementType.F16 or ElementType.BF16 or ElementType.F32) || entry.Shape is not [var height, var width]
            || (height, width) != (groups, outputs))
        {
            throw new NibbleException($"{checkpoint.Folder}, {name}: expected floats [{groups}, {outputs}], found {entry.ElementType} "
                + $"[{string.Join(", ", entry.Shape)}].");
        }

        return PackedWords.Transpose<float>(checkpoint.ReadFloats(name), groups, outputs);
    }

    private static FloatTensor Float(Checkpoint checkpoint, string name)
    {
        var entry = checkpoint.Entry(name);
        return entry.ElementType.IsFloatingPoint() && entry.Shape.All(size => size <= int.MaxValue)
            ? new FloatTensor(name, [.. entry.Shape.Select(size => (int)size)], checkpoint.ReadFloats(name), entry.ElementType)
            : throw new NibbleException(
                $"{checkpoint.Folder}, {name}: {entry.ElementType} [{string.Join(", ", entry.Shape)}] belongs to no quantized layer; expected a tensor of "
                + $"floats.");
    }
}
