using System.Globalization;
using Nibble.Artifacts;
using Nibble.Formats.Awq;
using Nibble.Formats.Gptq;
using Nibble.Formats.HuggingFace;
using Nibble.Numerics;

namespace Nibble.Torch.Export;

/// <summary>A checkpoint of quantized weights that engines load from a folder.</summary>
public enum CheckpointFormat
{
    /// <summary>GPTQ, version 1.</summary>
    Gptq,

    /// <summary>GPTQ, version 2.</summary>
    GptqV2,

    /// <summary>AWQ, version GEMM.</summary>
    Awq,
}

/// <summary>Writes an artifact as a folder that GPTQ's or AWQ's engines load, code for code.</summary>
public static class CheckpointExporter
{
    /// <summary>Exports an artifact.</summary>
    /// <param name="artifact">The artifact's folder.</param>
    /// <param name="folder">The folder to create.</param>
    /// <param name="format">What to write.</param>
    /// <exception cref="NibbleException">There is no artifact, the format cannot hold it, or the folder exists already.</exception>
    public static ExportResult Run(string artifact, string folder, CheckpointFormat format)
    {
        if (Directory.Exists(artifact) && !QuantizedModelFile.IsArtifact(artifact))
        {
            throw new NibbleException($"{artifact}: a float model has no codes to write; quantize it with nibble ptq or qat first");
        }

        var model = QuantizedModelFile.Load(artifact);
        if (format == CheckpointFormat.Awq)
        {
            AwqFile.Save(model, folder);
        }
        else
        {
            GptqFile.Save(model, folder, format == CheckpointFormat.Gptq ? GptqVersion.V1 : GptqVersion.V2);
        }

        var types = model.FloatTensors.GroupBy(tensor => tensor.StoredAs.ToString()).Select(group => (group.Key, group.Count())).OrderBy(group => group.Key, StringComparer.Ordinal);
        return new ExportResult(
            Checkpoint.NameOf(artifact),
            QuantizedModelFile.TensorBytes(folder),
            [(string.Create(CultureInfo.InvariantCulture, $"INT{model.Layers[0].Weight.Scheme.Bits}"), model.Layers.Count), .. types],
            [.. Ragged(model)])
        {
            Summary = QuantizedModelFile.Summarize(artifact),
        };
    }

    /// <summary>What engines are known to ask for beyond what the format's definition does.</summary>
    private static IEnumerable<string> Ragged(QuantizedModel model)
    {
        var ragged = model.Layers.Where(layer => layer.Weight.Scheme.Granularity is PerGroup { Size: var size } && layer.Weight.Columns > size && layer.Weight.Columns % size != 0).ToList();
        if (ragged.Count > 0)
        {
            yield return $"{ragged.Count} layers, such as {ragged[0].Name}, have rows that groups do not divide; the last group is shorter, which vLLM refuses";
        }
    }
}
