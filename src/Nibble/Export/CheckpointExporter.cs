using System.Globalization;
using System.Text.Json;
using Nibble.Artifacts;
using Nibble.Formats;
using Nibble.Formats.Awq;
using Nibble.Formats.CompressedTensors;
using Nibble.Formats.Gptq;
using Nibble.Formats.HuggingFace;
using Nibble.Numerics;

namespace Nibble.Export;

/// <summary>The format of a quantized checkpoint that engines load from a folder.</summary>
public enum CheckpointFormat
{
    /// <summary>GPTQ, version 1.</summary>
    Gptq,

    /// <summary>GPTQ, version 2.</summary>
    GptqV2,

    /// <summary>AWQ, version GEMM.</summary>
    Awq,
}

/// <summary>Writes an artifact as a GPTQ or AWQ checkpoint, code for code.</summary>
public static class CheckpointExporter
{
    /// <summary>Exports an artifact.</summary>
    /// <param name="artifact">The artifact's folder.</param>
    /// <param name="folder">The folder to create.</param>
    /// <param name="format">The format to write.</param>
    /// <param name="progress">Receives a report after each tensor.</param>
    /// <param name="cancellation">Stops between tensors and removes the folder.</param>
    /// <exception cref="NibbleException">There is no artifact, the format cannot hold it, or the folder already exists.</exception>
    public static ExportResult Run(
        string artifact, string folder, CheckpointFormat format, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        if (Directory.Exists(artifact) && !QuantizedModelFile.IsArtifact(artifact))
        {
            throw new NibbleException($"{artifact}: a float model has no codes to write; quantize it with nibble ptq or qat first");
        }

        var model = QuantizedModelFile.Load(artifact);
        if (format == CheckpointFormat.Awq)
        {
            AwqFile.Save(model, folder, progress, cancellation);
        }
        else
        {
            GptqFile.Save(model, folder, format == CheckpointFormat.Gptq ? GptqVersion.V1 : GptqVersion.V2, progress, cancellation);
        }

        var types = model.FloatTensors.GroupBy(tensor => tensor.StoredAs.ToString()).Select(group => (group.Key, group.Count()))
            .OrderBy(group => group.Key, StringComparer.Ordinal);
        return new ExportResult(
            Checkpoint.NameOf(artifact),
            QuantizedModelFile.TensorBytes(folder),
            [(string.Create(CultureInfo.InvariantCulture, $"INT{model.Layers[0].Weight.Scheme.Bits}"), model.Layers.Count), .. types],
            [.. Ragged(model), .. HalfFused(model), .. AskedByEngines(model, format)])
        {
            Summary = QuantizedModelFile.Summarize(artifact),
        };
    }

    /// <summary>Known limits of engines beyond the definition of the format.</summary>
    private static IEnumerable<string> Ragged(QuantizedModel model)
    {
        var ragged = model.Layers.Where(
            layer => layer.Weight.Scheme.Granularity is PerGroup { Size: var size } && layer.Weight.Columns > size && layer.Weight.Columns % size != 0)
            .ToList();
        if (ragged.Count > 0)
        {
            yield return $"{ragged.Count} layers, such as {ragged[0].Name}, have rows that groups do not divide; vLLM refuses the shorter last group";
        }
    }

    private static IEnumerable<string> HalfFused(QuantizedModel model)
    {
        var floats = FusedLayers.HalfQuantized(model);
        if (floats.Count > 0)
        {
            yield return "vLLM fuses queries, keys and values into one layer and gate and up into another, and refuses a fused layer that is partly quantized: "
                + $"{floats[0]}{(floats.Count > 1 ? $" and {floats.Count - 1} more" : string.Empty)} stayed in float next to quantized layers";
        }
    }

    private static IEnumerable<string> AskedByEngines(QuantizedModel model, CheckpointFormat format)
    {
        var symmetric = model.Layers[0].Weight.Scheme.Symmetric;
        if (format == CheckpointFormat.Gptq && !symmetric)
        {
            yield return "GPTQModel loads asymmetric version 1 weights only if it wrote them itself; version 2 (gptq-v2) has no such limit, and vLLM "
                + "and transformers load both";
        }

        if (format != CheckpointFormat.Awq && !symmetric && StoredType(model.ConfigJson) == "bfloat16")
        {
            yield return "vLLM runs asymmetric GPTQ weights only in float16, but config.json says bfloat16: start it with --dtype float16";
        }

        if (format == CheckpointFormat.Awq && model.Layers.Any(layer => layer.Name == "lm_head"))
        {
            yield return "the head is quantized; of the engines for AWQ, only vLLM loads it";
        }
    }

    private static string? StoredType(string configJson)
    {
        using var config = JsonDocument.Parse(configJson);
        return ((string[])["dtype", "torch_dtype"])
            .Select(key => config.RootElement.TryGetProperty(key, out var type) && type.ValueKind == JsonValueKind.String ? type.GetString() : null)
            .FirstOrDefault(type => type is not null);
    }
}
