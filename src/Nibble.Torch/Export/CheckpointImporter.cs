using System.Text.Json;
using Nibble.Artifacts;
using Nibble.Formats.Awq;
using Nibble.Formats.Gptq;
using Nibble.Formats.HuggingFace;
using Nibble.Recipes;
using Nibble.Torch.Models;

namespace Nibble.Torch.Export;

/// <summary>What an import read.</summary>
/// <param name="Model">What the model is called.</param>
/// <param name="Format">The format: <c>gptq</c>, <c>gptq-v2</c>, <c>awq</c>, <c>gguf</c> or <c>onnx</c>.</param>
/// <param name="Layers">Quantized layers; 0 where a float checkpoint was written.</param>
/// <param name="Bytes">Bytes of the tensors that were written.</param>
/// <param name="Notes">What is odd about the checkpoint; a sentence each.</param>
public sealed record ImportResult(string Model, string Format, int Layers, long Bytes, IReadOnlyList<string> Notes)
{
    /// <summary>Which layers have codes, and which have none.</summary>
    public RunSummary Summary { get; init; } = RunSummary.Empty;
}

/// <summary>Reads GPTQ and AWQ checkpoints and GGUF files as artifacts, code for code.</summary>
public static class CheckpointImporter
{
    /// <summary>Imports a checkpoint.</summary>
    /// <param name="checkpoint">The checkpoint's folder, or a GGUF file.</param>
    /// <param name="folder">The folder of the artifact to create; of a float checkpoint where a GGUF file holds no codes.</param>
    /// <exception cref="NibbleException">The checkpoint is missing, broken or of another format, or the folder exists already.</exception>
    public static ImportResult Run(string checkpoint, string folder)
    {
        if (File.Exists(checkpoint))
        {
            return GgufImporter.Run(checkpoint, folder);
        }

        var (model, format, notes) = Read(checkpoint);
        var imported = model with { Provenance = model.Provenance with { Version = Conversion.Version } };
        QuantizedModelFile.Save(imported, folder);
        return new ImportResult(Checkpoint.NameOf(checkpoint), format, model.Layers.Count, QuantizedModelFile.TensorBytes(folder), notes)
        {
            Summary = QuantizedModelFile.Summarize(folder),
        };
    }

    private static (QuantizedModel Model, string Format, IReadOnlyList<string> Notes) Read(string checkpoint)
    {
        if (MethodOf(checkpoint) is "awq")
        {
            return (AwqFile.Load(checkpoint), "awq", []);
        }

        var model = GptqFile.Load(checkpoint, out var version, out var label);
        return (model, version == GptqVersion.V1 ? "gptq" : "gptq-v2",
            version == label ? [] : [$"the checkpoint is labelled {Name(label)}, but its zero points are those of {Name(version)}, which was believed"]);

        static string Name(GptqVersion version) => version == GptqVersion.V1 ? "version 1 (gptq)" : "version 2 (gptq_v2)";
    }

    /// <summary>What <c>config.json</c> says that the weights were quantized by; null where it says nothing.</summary>
    /// <exception cref="NibbleException">The checkpoint is missing, or of another method.</exception>
    private static string? MethodOf(string checkpoint)
    {
        if (!Directory.Exists(checkpoint))
        {
            throw new NibbleException($"There is no folder or file {checkpoint}.");
        }

        var path = Path.Combine(checkpoint, Checkpoint.ConfigName);
        using var config = JsonDocument.Parse(Checkpoint.ReadConfig(path));
        var method = config.RootElement.TryGetProperty(Checkpoint.QuantizationKey, out var value) && value.ValueKind == JsonValueKind.Object
            && value.TryGetProperty("quant_method", out var name) && name.ValueKind == JsonValueKind.String ? name.GetString() : null;
        return method is null or "gptq" or "awq"
            ? method
            : throw new NibbleException($"{path}: {Checkpoint.QuantizationKey} says that the weights were quantized by {method}, expected gptq or awq");
    }
}
