using Nibble.Artifacts;
using Nibble.Formats;
using Nibble.Formats.CompressedTensors;
using Nibble.Formats.HuggingFace;
using Nibble.Recipes;

namespace Nibble.Export;

/// <summary>What an import read.</summary>
/// <param name="Model">What the model is called.</param>
/// <param name="Format">The format: <c>gptq</c>, <c>gptq-v2</c>, <c>awq</c>, <c>compressed-tensors</c>, <c>gguf</c> or <c>onnx</c>.</param>
/// <param name="Layers">Quantized layers; 0 where a float checkpoint was written.</param>
/// <param name="Bytes">Bytes of the tensors that were written.</param>
/// <param name="Notes">What is odd about the checkpoint; a sentence each.</param>
public sealed record ImportResult(string Model, string Format, int Layers, long Bytes, IReadOnlyList<string> Notes)
{
    /// <summary>Which layers have codes, and which have none.</summary>
    public RunSummary Summary { get; init; } = RunSummary.Empty;
}

/// <summary>Reads checkpoints that other tools quantized and GGUF files as artifacts, code for code.</summary>
public static class CheckpointImporter
{
    /// <summary>Imports a checkpoint.</summary>
    /// <param name="checkpoint">The checkpoint's folder, or a GGUF file.</param>
    /// <param name="folder">The folder of the artifact to create; of a float checkpoint where a GGUF file holds no codes.</param>
    /// <param name="progress">Told after each tensor.</param>
    /// <param name="cancellation">Stops between tensors; nothing is left of the folder.</param>
    /// <exception cref="NibbleException">The checkpoint is missing, broken or of another format, or the folder exists already.</exception>
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

    /// <summary>Reads a checkpoint that another tool quantized, with exactly the tensors that its model has.</summary>
    /// <param name="folder">The checkpoint's folder.</param>
    /// <exception cref="NibbleException">The checkpoint is missing, broken, quantized in a way that is not supported, or lacks a tensor of its
    /// model.</exception>
    internal static QuantizedCheckpoint Read(string folder)
    {
        var read = QuantizedCheckpoint.Read(folder);
        var notes = read.Notes.ToList();
        var model = ImportedTensors.Fit(read.Model, folder, notes);
        return new QuantizedCheckpoint(model with { Provenance = model.Provenance with { Version = Provenance.ThisVersion } }, read.Format, notes);
    }

    /// <summary>Refuses files that are known to be of another kind, with the reason.</summary>
    private static void RequireKnownFile(string path)
    {
        switch (Path.GetExtension(path).ToLowerInvariant())
        {
            case ".safetensors":
                throw new NibbleException($"{path} is one file of a checkpoint; give its folder, which holds {Checkpoint.ConfigName} as well.");
            case ".bin" or ".pt" or ".pth" or ".ckpt":
                throw new NibbleException($"{path} is a file of PyTorch's, which can run any program when it is read, and is not supported; save the model "
                    + "as safetensors (in transformers: save_pretrained with safe_serialization) and give its folder.");
            case ".onnx":
                throw new NibbleException($"{path}: expected an ONNX file that Nibble exported.");
            default:
                return;
        }
    }
}
