using Nibble.Artifacts;
using Nibble.Formats.Awq;
using Nibble.Formats.CompressedTensors;
using Nibble.Formats.Gptq;
using Nibble.Formats.HuggingFace;

namespace Nibble.Formats;

/// <summary>A model quantized by another tool.</summary>
/// <param name="Model">The model, code for code.</param>
/// <param name="Format">The format: <c>gptq</c>, <c>gptq-v2</c>, <c>awq</c> or <c>compressed-tensors</c>.</param>
/// <param name="Notes">Unusual properties of the checkpoint, one sentence each.</param>
internal sealed record QuantizedCheckpoint(QuantizedModel Model, string Format, IReadOnlyList<string> Notes)
{
    /// <summary>
    /// The method that a folder's weights are quantized by, for example <c>gptq</c>; null if they are float or the folder does not exist.
    /// </summary>
    /// <param name="folder">A checkpoint's folder.</param>
    /// <exception cref="NibbleException">A configuration file is broken.</exception>
    public static string? MethodOf(string folder) =>
        File.Exists(Path.Combine(folder, Checkpoint.ConfigName)) ? QuantizationConfigReader.Find(folder)?.Method() : null;

    /// <summary>Throws if a checkpoint was quantized by another tool, where float weights are needed.</summary>
    /// <param name="folder">A folder. Artifacts of Nibble are accepted.</param>
    /// <exception cref="NibbleException">The weights are quantized.</exception>
    public static void RequireFloat(string folder)
    {
        if (!QuantizedModelFile.IsArtifact(folder) && MethodOf(folder) is { } method)
        {
            throw new NibbleException(
                $"{folder}: the weights are quantized already, by {method}; expected a float checkpoint: use the model that this one was made from "
                    + "(nibble import turns this one into an artifact that you can export and compare). If the weights are float and the configuration is left "
                        + "over, remove it.");
        }
    }

    /// <summary>Reads a checkpoint.</summary>
    /// <param name="folder">The checkpoint's folder.</param>
    /// <exception cref="NibbleException">The checkpoint is missing, broken, or quantized in an unsupported way.</exception>
    public static QuantizedCheckpoint Read(string folder)
    {
        ArgumentNullException.ThrowIfNull(folder);
        if (!Directory.Exists(folder))
        {
            throw new NibbleException($"There is no folder {folder}.");
        }

        if (QuantizedModelFile.IsArtifact(folder))
        {
            throw new NibbleException($"{folder} is an artifact of Nibble and needs no import.");
        }

        var config = QuantizationConfigReader.Find(folder)
            ?? throw new NibbleException($"{folder}: {Checkpoint.ConfigName} has no {Checkpoint.QuantizationKey}, and there is no quantize_config.json or "
                + "quant_config.json next to it; expected a checkpoint whose weights are quantized.");
        var notes = new List<string>();
        switch (config.Method())
        {
            case QuantizationConfigReader.Awq:
                return new QuantizedCheckpoint(AwqFile.Load(folder, config), QuantizationConfigReader.Awq, notes);
            case QuantizationConfigReader.CompressedTensors:
                return new QuantizedCheckpoint(CompressedTensorsCheckpoint.Load(folder, config), QuantizationConfigReader.CompressedTensors, notes);
            case QuantizationConfigReader.Gptq:
                var model = GptqFile.Load(folder, config, notes, out var version, out _);
                return new QuantizedCheckpoint(model, version == GptqVersion.V1 ? QuantizationConfigReader.Gptq : "gptq-v2", notes);
            default:
                throw config.Fault("quant_method", $"says that the weights were quantized by {config.Method()}, expected {QuantizationConfigReader.Gptq}, "
                    + $"{QuantizationConfigReader.Awq} or {QuantizationConfigReader.CompressedTensors}");
        }
    }
}
