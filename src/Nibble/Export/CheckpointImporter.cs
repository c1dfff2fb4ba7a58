using Nibble.Artifacts;
using Nibble.Formats;
using Nibble.Formats.CompressedTensors;
using Nibble.Formats.HuggingFace;
using Nibble.Recipes;

namespace Nibble.Export;

/// <summary>The result of an import.</summary>
/// <param name="Model">The model's name.</param>
/// <param name="Format">The format: <c>gptq</c>, <c>gptq-v2</c>, <c>awq</c>, <c>compressed-tensors</c>, <c>gguf</c> or <c>onnx</c>.</param>
/// <param name="Layers">Quantized layers; 0 if a float checkpoint was written.</param>
/// <param name="Bytes">Bytes of the tensors that were written.</param>
/// <param name="Notes">Peculiarities of the checkpoint, one sentence each.</param>
public sealed record ImportResult(string Model, string Format, int Layers, long Bytes, IReadOnlyList<string> Notes)
{
    /// <summary>Which layers have codes and which have none.</summary>
    public RunSummary Summary { get; init; } = RunSummary.Empty;
}

/// <summary>Converts quantized checkpoints from other tools and GGUF files to artifacts, code for code.</summary>
public static class CheckpointImporter
{
    /// <summary>Imports a checkpoint.</summary>
    /// <param name="checkpoint">The checkpoint's folder, or a GGUF file.</param>
    /// <param name="folder">The folder of the artifact to create, or of a float checkpoint if a GGUF file holds no codes.</param>
    /// <param name="progress">Receives a report after each tensor.</param>
    /// <param name="cancellation">Stops between tensors and removes the folder.</param>
    /// <exception cref="NibbleException">The checkpoint is missing, damaged or in another format, or the folder already exists.</exception>
    public static ImportResult Run(
        string checkpoint, string folder, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        if (File.Exists(checkpoint))
        {
            RequireKnownFile(checkpoint);
            return GgufImporter.Run(checkpoint, folder, progress, cancellation);
        }

        if (!Directory.Exists(checkpoint))
        {
            throw new NibbleException($"There is no folder or file {checkpoint}.");
        }

        var (model, format, notes) = Read(checkpoint);
        QuantizedModelFile.Save(model, folder, progress, cancellation);
        return new ImportResult(Checkpoint.NameOf(checkpoint), format, model.Layers.Count, QuantizedModelFile.TensorBytes(folder), notes)
        {
            Summary = QuantizedModelFile.Summarize(folder),
        };
    }

    /// <summary>Reads a checkpoint that another tool quantized, with exactly the tensors of its model.</summary>
    /// <param name="folder">The checkpoint's folder.</param>
    /// <exception cref="NibbleException">The checkpoint is missing, damaged, quantized in an unsupported way, or lacks a tensor of its
    /// model.</exception>
    internal static QuantizedCheckpoint Read(string folder)
    {
        var read = QuantizedCheckpoint.Read(folder);
        var notes = read.Notes.ToList();
        var model = ImportedTensors.Fit(read.Model, folder, notes);
        return new QuantizedCheckpoint(model with { Provenance = model.Provenance with { Version = Provenance.ThisVersion } }, read.Format, notes);
    }

    /// <summary>Rejects files of other known kinds, with the reason.</summary>
    private static void RequireKnownFile(string path)
    {
        switch (Path.GetExtension(path).ToLowerInvariant())
        {
            case ".safetensors":
                throw new NibbleException($"{path} is one file of a checkpoint; give its folder, which also holds {Checkpoint.ConfigName}.");
            case ".bin" or ".pt" or ".pth" or ".ckpt":
                throw new NibbleException($"{path} is a PyTorch file, which can run any program when it is loaded, and is not supported; save the model "
                    + "as safetensors (in transformers: save_pretrained with safe_serialization) and give its folder.");
            case ".onnx":
                throw new NibbleException($"{path}: expected an ONNX file that Nibble exported.");
            default:
                return;
        }
    }
}
