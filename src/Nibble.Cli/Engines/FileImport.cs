using Nibble.Export;
using Nibble.Formats.CompressedTensors;
using Nibble.Onnx;

namespace Nibble.Cli.Engines;

/// <summary>Imports exported files of any engine.</summary>
internal static class FileImport
{
    /// <summary>Converts a checkpoint of another tool, a GGUF file or an ONNX file into a folder.</summary>
    /// <param name="path">The file, or the checkpoint's folder.</param>
    /// <param name="folder">The folder to create.</param>
    /// <param name="progress">Takes a report after each tensor.</param>
    /// <param name="cancellation">Stops between tensors.</param>
    /// <exception cref="NibbleException">The file or checkpoint is missing, damaged or in an unsupported format, or the folder exists already.</exception>
    public static ImportResult Run(string path, string folder, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default) =>
        ExportedFile.Find(path) is { Engine: OnnxRuntimeEngine.EngineName } file
            ? Onnx(file, folder, progress, cancellation) : CheckpointImporter.Run(path, folder, progress, cancellation);

    private static ImportResult Onnx(ExportedFile file, string folder, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        using var tensors = ModelTensors.OpenExported(file.Path);
        var read = OnnxImporter.Run(tensors, folder, progress, cancellation);
        return new ImportResult(file.Name, OnnxExport.Format, read.Layers, QuantizedModelFile.TensorBytes(folder), read.Notes)
        {
            Summary = QuantizedModelFile.Summarize(folder),
        };
    }
}
