using Nibble.Files;
using System.Text;
using System.Text.Json;
using Nibble.Artifacts;
using Nibble.Recipes;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Qat;

/// <summary>Converts a prepared module into a quantized model and back.</summary>
/// <remarks>
/// The configuration names the class and the batch normalizations that are folded into convolutions. The module itself is the caller's code. Batch counters
/// are not stored, because only training uses them.
/// </remarks>
internal static class ModuleConversion
{
    public const string ModelType = "torchsharp";

    private const string FoldedKey = "folded_batch_norms";
    private const string WeightSuffix = ".weight";
    private const string BiasSuffix = ".bias";
    private const string BatchCounter = "num_batches_tracked";

    public static QuantizedModel Convert(PreparedModel prepared, Recipe recipe, string method, long seed, IReadOnlyDictionary<string, double> metrics)
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        var layers = prepared.ConvertLayers();
        var weights = layers.Select(layer => layer.Name + WeightSuffix).ToHashSet();
        var folded = prepared.BatchNorms.Values.Select(name => name + ".").ToList();
        var biases = prepared.Prepared
            .Where(layer => layer.Layer is QuantizableConv2d { BatchNorm: not null })
            .ToDictionary(layer => layer.Name + BiasSuffix, layer => ((QuantizableConv2d)layer.Layer).FoldedBias!);
        var floats = prepared.Module.state_dict()
            .Where(item => !weights.Contains(item.Key) && !biases.ContainsKey(item.Key) && !folded.Exists(item.Key.StartsWith) && !IsCounter(item.Key))
            .Concat(biases)
            .Select(item => Conversion.Stored(item.Key, item.Value, StoredAs(item.Key, item.Value)))
            .ToList();
        return new QuantizedModel(Configuration(prepared), layers, floats, recipe,
            new Provenance(Provenance.ThisVersion, method, seed, new Dictionary<string, string>(), metrics), string.Empty)
        {
            Summary = prepared.Summary,
        };
    }

    public static void Load(nn.Module module, QuantizedModel model) => Load(module, model, FoldedBatchNorms(model.ConfigJson));

    /// <summary>Makes a float module compute the same as a quantized model.</summary>
    /// <param name="module">The module, which is changed.</param>
    /// <param name="model">The quantized model.</param>
    /// <param name="folded">The batch normalization that is folded into each convolution, by name.</param>
    public static void Load(nn.Module module, QuantizedModel model, IReadOnlyDictionary<string, string> folded)
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        var nodes = ModuleTree.Nodes(module).ToDictionary(node => node.Path);
        var floats = model.FloatTensors.ToDictionary(tensor => tensor.Name);
        var replacements = new List<(ModuleNode Node, nn.Module Module)>();
        var expected = module.state_dict();
        foreach (var norm in folded.Values)
        {
            var node = nodes.GetValueOrDefault(norm) is { Module: BatchNorm2d } found ? found
                : throw Fault($"folds the batch normalization '{norm}', which the module does not have");
            replacements.Add((node, nn.Identity()));
            foreach (var name in node.Module.state_dict().Keys)
            {
                expected.Remove($"{norm}.{name}");
            }
        }

        var copies = new List<(Tensor Destination, float[] Values)>();
        foreach (var layer in model.Layers)
        {
            var node = nodes.GetValueOrDefault(layer.Name) is { } found && QuantizationAware.IsLayer(found.Module) ? found
                : throw Fault($"has a layer '{layer.Name}', but the module has no Linear, Conv2d or Embedding with that name");
            if (!expected.Remove(layer.Name + WeightSuffix, out var weight)
                || !weight.shape.Select(size => (int)size).SequenceEqual(layer.Shape ?? [layer.Weight.Rows, layer.Weight.Columns]))
            {
                throw Fault($"has a weight of shape [{string.Join(", ", layer.Shape ?? [layer.Weight.Rows, layer.Weight.Columns])}] in '{layer.Name}', "
                    + $"expected [{string.Join(", ", weight?.shape ?? [])}] as in the module");
            }

            var twin = node.Module;
            if (folded.ContainsKey(layer.Name))
            {
                if (node.Module is not Conv2d convolution || !floats.Remove(layer.Name + BiasSuffix, out var bias)
                    || bias.Values.Length != convolution.out_channels)
                {
                    throw Fault($"folds a batch normalization into '{layer.Name}', which is not a convolution with one bias value per "
                        + $"channel");
                }

                expected.Remove(layer.Name + BiasSuffix);
                twin = new QuantizableConv2d(
                    convolution, convolution.weight!, (Parameter)nn.Parameter(tensor(bias.Values).to(convolution.weight!.device)).DetachFromDisposeScope());
            }
            else if (layer.Input is not null && twin is not IQuantizableLayer)
            {
                twin = QuantizationAware.Twin(node.Module);
            }

            if (twin is IQuantizableLayer quantizable)
            {
                quantizable.WeightQuantizer = null;
                quantizable.InputQuantizer = InputQuantizers.Create(layer.Input);
            }

            if (twin != node.Module)
            {
                replacements.Add((node, twin));
            }

            copies.Add((weight, layer.Weight.Dequantize()));
        }

        foreach (var (name, destination) in expected.Where(item => !IsCounter(item.Key)))
        {
            if (!floats.Remove(name, out var values) || !values.Shape.Select(size => (long)size).SequenceEqual(destination.shape))
            {
                throw Fault($"has no tensor '{name}' of shape [{string.Join(", ", destination.shape)}], which the module has");
            }

            copies.Add((destination, values.Values));
        }

        if (floats.Keys.FirstOrDefault() is { } unknown)
        {
            throw Fault($"has a tensor '{unknown}', which the module does not have");
        }

        QuantizationAware.Replace(replacements);
        copies.ForEach(copy => Conversion.CopyInto(copy.Destination, copy.Values));

        NibbleException Fault(string what) =>
            new($"the quantized model {what}. Load it into a module of the class that was converted, not into a {module.GetType().Name}");
    }

    private static bool IsCounter(string name) => name == BatchCounter || name.EndsWith("." + BatchCounter, StringComparison.Ordinal);

    private static ElementType StoredAs(string name, Tensor tensor) => tensor.dtype switch
    {
        ScalarType.Float32 => ElementType.F32,
        ScalarType.Float16 => ElementType.F16,
        ScalarType.BFloat16 => ElementType.BF16,
        _ => throw new NibbleException(
            $"'{name}' is a tensor of {tensor.dtype}, expected float32, float16 or bfloat16, the types that a quantized model can hold besides codes. Register "
            + $"a buffer that the constructor fills with persistent: false"),
    };

    private static string Configuration(PreparedModel prepared)
    {
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream))
        {
            writer.WriteStartObject();
            writer.WriteString("model_type", ModelType);
            writer.WriteStartArray("architectures");
            writer.WriteStringValue(prepared.Module.GetType().Name);
            writer.WriteEndArray();
            writer.WriteStartObject(FoldedKey);
            foreach (var (convolution, norm) in prepared.BatchNorms)
            {
                writer.WriteString(convolution, norm);
            }

            writer.WriteEndObject();
            writer.WriteEndObject();
        }

        return Encoding.UTF8.GetString(stream.ToArray());
    }

    private static Dictionary<string, string> FoldedBatchNorms(string json)
    {
        try
        {
            using var config = JsonDocument.Parse(json);
            return config.RootElement.GetProperty("model_type").GetString() == ModelType
                ? config.RootElement.GetProperty(FoldedKey).EnumerateObject().ToDictionary(pair => pair.Name, pair => pair.Value.GetString()!)
                : throw new KeyNotFoundException();
        }
        catch (Exception exception) when (exception is JsonException or KeyNotFoundException or InvalidOperationException or ArgumentException)
        {
            throw new NibbleException(
                $"the quantized model's config.json describes no module: expected model_type {ModelType} and {FoldedKey} as {nameof(QuantizationAware)} "
                + $"writes them. Open models of other types with LoadedModel.Open", exception);
        }
    }
}
