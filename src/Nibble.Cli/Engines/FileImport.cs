using Nibble.Export;
using Nibble.Formats.CompressedTensors;
using Nibble.Onnx;

namespace Nibble.Cli.Engines;

/// <summary>Imports files that were exported, of whatever engine.</summary>
internal static class FileImport
{
    /// <summary>Reads a checkpoint of other tools, a GGUF file or an ONNX file as a folder.</summary>
    /// <param name="path">The file, or the checkpoint's folder.</param>
    /// <param name="folder">The folder to create.</param>
    /// <exception cref="NibbleException">The file or checkpoint is missing, broken or of another format, or the folder exists already.</exception>
    public static ImportResult Run(string path, string folder) =>
        ExportedFile.Find(path) is { Engine: OnnxRuntimeEngine.EngineName } file ? Onnx(file, folder) : CheckpointImporter.Run(path, folder);

    private static ImportResult Onnx(ExportedFile file, string folder)
    {
        using var tensors = ModelTensors.OpenExported(file.Path);
        var read = OnnxImporter.Run(tensors, folder);
        return new ImportResult(file.Name, OnnxExport.Format, read.Layers, QuantizedModelFile.TensorBytes(folder), read.Notes)
        {
            Summary = QuantizedModelFile.Summarize(folder),
        };
    }
}
