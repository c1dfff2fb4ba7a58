using System.Text.Json;
using System.Text.Json.Nodes;
using Nibble.Artifacts;
using Nibble.Files;
using Nibble.Formats.HuggingFace;
using Nibble.Models;
using Nibble.Models.Decoders;
using Nibble.Models.Decoders.Families;

namespace Nibble.Export;

/// <summary>Adapts the tensors of an imported model to those of its architecture, so that the import can run.</summary>
internal static class ImportedTensors
{
    private const string Weight = ".weight";
    private const string Bias = ".bias";
    private const string Tied = "tie_word_embeddings";

    /// <summary>Adapts a model.</summary>
    /// <remarks>
    /// Some tools add zero biases to layers that have none (AutoGPTQ), and old checkpoints hold tensors that the model computes itself. Removing them
    /// changes no value. A quantized embedding becomes float values, because Nibble looks it up and does not multiply it.
    /// </remarks>
    /// <param name="model">The model as it was read.</param>
    /// <param name="folder">Its folder, for messages.</param>
    /// <param name="notes">Receives descriptions of the changes.</param>
    /// <exception cref="NibbleException">A tensor is missing, has another shape, or is not part of the model.</exception>
    public static QuantizedModel Fit(QuantizedModel model, string folder, ICollection<string> notes)
    {
        if (ModelFamilies.Find(TypeOf(model.ConfigJson)) is not (DecoderFamily or null))
        {
            return model;
        }

        var path = Path.Combine(folder, Checkpoint.ConfigName);
        if (TypeOf(model.ConfigJson) is var type && !DecoderConfig.SupportedTypes.Contains(type))
        {
            notes.Add($"Nibble does not run models of type '{type}': the artifact can be exported but not evaluated");
            return model;
        }

        model = Untie(model, notes);
        var config = DecoderConfig.Parse(model.ConfigJson, path);
        var expected = GgufNames.Of(config).ToDictionary(tensor => tensor.Source, tensor => tensor.Shape, StringComparer.Ordinal);
        model = WithoutCodes(model, DecoderConfig.EmbeddingName[..^Weight.Length], notes);
        model = WithoutEmptyBiases(model, expected, notes);
        model = model with
        {
            FloatTensors = [.. model.FloatTensors.Where(tensor => expected.ContainsKey(tensor.Name) || !config.IsIgnored(tensor.Name))],
        };
        Require(model, expected, folder, type);
        return model;
    }

    private static string TypeOf(string configJson)
    {
        using var config = JsonDocument.Parse(configJson);
        return config.RootElement.TryGetProperty("model_type", out var type) && type.ValueKind == JsonValueKind.String ? type.GetString()! : string.Empty;
    }

    /// <summary>A head with its own codes is not a copy of the embedding, whatever the configuration says.</summary>
    private static QuantizedModel Untie(QuantizedModel model, ICollection<string> notes)
    {
        if (model.Layers.All(layer => layer.Name != DecoderConfig.HeadName))
        {
            return model;
        }

        var config = JsonNode.Parse(model.ConfigJson)!.AsObject();
        if (config[Tied]?.GetValueKind() != JsonValueKind.True)
        {
            return model;
        }

        config[Tied] = false;
        notes.Add($"{DecoderConfig.HeadName} has its own codes, so {Tied} in the configuration was set to false");
        return model with { ConfigJson = config.ToJsonString() };
    }

    private static QuantizedModel WithoutCodes(QuantizedModel model, string name, ICollection<string> notes)
    {
        if (model.Layers.FirstOrDefault(layer => layer.Name == name) is not { } layer)
        {
            return model;
        }

        notes.Add($"{name} is quantized in the checkpoint; its values were converted to float32");
        return model with
        {
            Layers = [.. model.Layers.Where(other => other != layer)],
            FloatTensors = [new FloatTensor(name + Weight, [layer.Weight.Rows, layer.Weight.Columns], layer.Weight.Dequantize(), ElementType.F32),
                .. model.FloatTensors],
        };
    }

    private static QuantizedModel WithoutEmptyBiases(QuantizedModel model, Dictionary<string, long[]> expected, ICollection<string> notes)
    {
        var quantized = model.Layers.Select(layer => layer.Name + Bias).ToHashSet(StringComparer.Ordinal);
        var empty = model.FloatTensors.Where(tensor => quantized.Contains(tensor.Name) && !expected.ContainsKey(tensor.Name)
            && !tensor.Values.AsSpan().ContainsAnyExcept(0f)).ToList();
        if (empty.Count == 0)
        {
            return model;
        }

        notes.Add($"{empty.Count} zero biases, such as {empty[0].Name}, are not part of the model and were omitted");
        return model with { FloatTensors = [.. model.FloatTensors.Except(empty)] };
    }

    private static void Require(QuantizedModel model, Dictionary<string, long[]> expected, string folder, string type)
    {
        var found = model.Layers.ToDictionary(layer => layer.Name + Weight, layer => (long[])[layer.Weight.Rows, layer.Weight.Columns], StringComparer.Ordinal);
        foreach (var tensor in model.FloatTensors)
        {
            found[tensor.Name] = [.. tensor.Shape.Select(size => (long)size)];
        }

        foreach (var (name, shape) in expected)
        {
            if (!found.TryGetValue(name, out var other))
            {
                throw new NibbleException($"{folder}: the checkpoint lacks the tensor '{name}', which a model of type '{type}' has");
            }

            if (!other.SequenceEqual(shape))
            {
                throw new NibbleException($"{folder}: '{name}' has the shape [{string.Join(", ", other)}], expected [{string.Join(", ", shape)}] from "
                    + "config.json");
            }
        }

        if (found.Keys.FirstOrDefault(name => !expected.ContainsKey(name)) is { } unknown)
        {
            throw new NibbleException($"{folder}: the checkpoint holds the tensor '{unknown}', which a model of type '{type}' with this config.json does "
                + "not use");
        }
    }
}
