using System.Text.Json;
using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble.Formats.CompressedTensors;

/// <summary>The <c>quantization_config</c> of a checkpoint's <c>config.json</c>.</summary>
/// <remarks>Definition: vllm-project/compressed-tensors, <c>quantization/quant_config.py</c> and <c>quantization/quant_args.py</c>.</remarks>
internal static class CompressedTensorsConfig
{
    /// <summary>The key in <c>config.json</c>.</summary>
    public const string Key = "quantization_config";

    /// <summary>The name of a format.</summary>
    public static string Name(this CompressedTensorsFormat format) => format == CompressedTensorsFormat.IntQuantized ? "int-quantized" : "pack-quantized";

    /// <summary>Writes the value of <see cref="Key"/>.</summary>
    /// <param name="writer">Where to write.</param>
    /// <param name="format">How codes are stored.</param>
    /// <param name="groups">The layers of each scheme and whether their groups hold scattered columns; a rule's pattern is the group's name.</param>
    /// <param name="ignored">Modules that stay float.</param>
    /// <param name="standard">Whether an engine that follows this configuration computes what the model computes. Where it would not, another method is named, which engines refuse instead of computing nonsense.</param>
    public static void Write(Utf8JsonWriter writer, CompressedTensorsFormat format, IReadOnlyList<(RecipeRule Scheme, bool HasGroupIndex, IReadOnlyList<string> Layers)> groups, IEnumerable<string> ignored, bool standard)
    {
        writer.WriteStartObject();
        writer.WriteString("quant_method", standard ? "compressed-tensors" : "nibble");
        writer.WriteString("format", format.Name());
        writer.WriteString("quantization_status", "compressed");
        writer.WriteNull("kv_cache_scheme");
        writer.WriteNull("global_compression_ratio");
        writer.WriteStartArray("ignore");
        foreach (var module in ignored)
        {
            writer.WriteStringValue(module);
        }

        writer.WriteEndArray();
        writer.WriteStartObject("config_groups");
        foreach (var (scheme, hasGroupIndex, layers) in groups)
        {
            writer.WriteStartObject(scheme.Pattern);
            writer.WriteStartArray("targets");

            // One scheme for all: naming the class lets engines that fuse layers (q, k and v into one) find it.
            foreach (var target in groups.Count == 1 ? ["Linear"] : layers)
            {
                writer.WriteStringValue(target);
            }

            writer.WriteEndArray();
            WriteArguments(writer, "weights", scheme.Weights, hasGroupIndex);
            WriteArguments(writer, "input_activations", scheme.Activations?.Scheme, hasGroupIndex: false);
            writer.WriteNull("output_activations");
            writer.WriteEndObject();
        }

        writer.WriteEndObject();
        writer.WriteEndObject();
    }

    private static void WriteArguments(Utf8JsonWriter writer, string key, QuantizationScheme? scheme, bool hasGroupIndex)
    {
        if (scheme is null)
        {
            writer.WriteNull(key);
            return;
        }

        var dynamic = scheme.Granularity is PerToken;
        writer.WriteStartObject(key);
        writer.WriteNumber("num_bits", scheme.Bits);
        writer.WriteString("type", "int");
        writer.WriteBoolean("symmetric", scheme.Symmetric);
        writer.WriteString("strategy", scheme.Granularity is PerGroup ? "group" : scheme.Granularity.ToString());
        if (scheme.Granularity is PerGroup { Size: var size })
        {
            writer.WriteNumber("group_size", size);
        }
        else
        {
            writer.WriteNull("group_size");
        }

        writer.WriteBoolean("dynamic", dynamic);
        writer.WriteNull("block_structure");
        writer.WriteString("actorder", hasGroupIndex ? "group" : null);
        writer.WriteString("observer", dynamic ? null : "minmax");
        writer.WriteStartObject("observer_kwargs");
        writer.WriteEndObject();
        writer.WriteEndObject();
    }
}
