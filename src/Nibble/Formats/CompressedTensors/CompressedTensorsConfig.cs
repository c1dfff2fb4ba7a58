using System.Text.Json;
using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble.Formats.CompressedTensors;

/// <summary>The <c>quantization_config</c> of a checkpoint's <c>config.json</c>.</summary>
/// <remarks>Definition: vllm-project/compressed-tensors, <c>quantization/quant_config.py</c> and <c>quantization/quant_args.py</c>.</remarks>
internal static class CompressedTensorsConfig
{
    /// <summary>The name of a format.</summary>
    public static string Name(this CompressedTensorsFormat format) => format == CompressedTensorsFormat.IntQuantized ? "int-quantized" : "pack-quantized";

    /// <summary>Writes the value of <c>quantization_config</c>.</summary>
    /// <param name="writer">Where to write.</param>
    /// <param name="manifest">The model's manifest.</param>
    /// <param name="ignored">The modules that stay float.</param>
    /// <param name="config">The model's <c>config.json</c>.</param>
    /// <remarks>
    /// If an engine that follows this configuration would compute something other than the model does, the configuration names a different method. Engines
    /// then refuse the model instead of producing wrong results.
    /// </remarks>
    public static void Write(Utf8JsonWriter writer, ArtifactManifest manifest, IEnumerable<string> ignored, JsonElement config)
    {
        var groups = manifest.Groups();
        writer.WriteStartObject();
        writer.WriteString("quant_method",
            manifest.Layers.All(layer => layer is { Transform: InputTransform.None, Scheme.Weights.Format: not CodeFormat.Stretched })
                ? "compressed-tensors"
                : "nibble");
        writer.WriteString("format", manifest.Format.Name());
        writer.WriteString("quantization_status", "compressed");
        WriteArguments(writer, "kv_cache_scheme", CacheScheme(manifest.Recipe.KeyValueCache, config), dynamic: true);
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

            // With a single scheme, naming the class lets engines that fuse layers (q, k and v into one) find it.
            foreach (var target in groups.Count == 1 ? ["Linear"] : layers)
            {
                writer.WriteStringValue(target);
            }

            writer.WriteEndArray();
            WriteArguments(writer, "weights", scheme.Weights, dynamic: false, hasGroupIndex);
            WriteArguments(writer, "input_activations", scheme.Activations?.Scheme, scheme.Activations?.Scheme.Granularity is PerToken);
            writer.WriteNull("output_activations");
            writer.WriteEndObject();
        }

        writer.WriteEndObject();
        writer.WriteEndObject();
    }

    /// <summary>The cache's scheme in terms of the definition: one scheme for keys and values, with each head's vector as a group.</summary>
    /// <remarks>The definition's <c>token</c> strategy shares one scale among all tokens cached at once, and it has no per-channel keys. Returns null for
    /// such a cache.</remarks>
    private static QuantizationScheme? CacheScheme(KeyValueCacheRule? cache, JsonElement config) =>
        cache is { Keys: { } keys, Values: { } values } && keys == values && HeadSize(config) is { } size
            ? new QuantizationScheme(keys.Bits, keys.Symmetric, Granularity.Group(size))
            : null;

    private static int? HeadSize(JsonElement config) => Number(config, "head_dim") ??
        (Number(config, "hidden_size") is { } hidden && Number(config, "num_attention_heads") is { } heads && hidden >= heads ? hidden / heads : null);

    private static int? Number(JsonElement config, string key) =>
        config.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var number) && number > 0 ? number : null;

    private static void WriteArguments(Utf8JsonWriter writer, string key, QuantizationScheme? scheme, bool dynamic, bool hasGroupIndex = false)
    {
        if (scheme is null)
        {
            writer.WriteNull(key);
            return;
        }

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
