using Nibble.Export;
using Nibble.Files;
using Nibble.Models;

namespace Nibble.Cli.Engines;

/// <summary>Writes a temporary file for an engine.</summary>
internal static class EngineFile
{
    /// <summary>Exports a model.</summary>
    /// <param name="model">The folder of a model or an artifact.</param>
    /// <param name="engine">The engine that runs the file.</param>
    /// <param name="folder">The folder to write to.</param>
    /// <param name="type">For llama.cpp: the matrix type, as for <see cref="GgufExporter.Run"/>.</param>
    /// <param name="cancellation">Stops between tensors.</param>
    /// <param name="task">The task; null for the one that the folder specifies.</param>
    /// <returns>The file, and notes on how it differs from the model.</returns>
    public static (ExportedFile File, IReadOnlyList<string> Notes) Write(
        string model, string engine, string folder, GgufType? type, CancellationToken cancellation, TaskConfig? task = null)
    {
        if (engine == LlamaCppEngine.EngineName)
        {
            var gguf = Path.Combine(folder, "model.gguf");
            return (new ExportedFile(gguf, engine), GgufExporter.Run(model, gguf, type, embeddings: null, progress: null, cancellation).Notes);
        }

        var onnx = Path.Combine(folder, "model.onnx");
        OnnxExport.Run(model, onnx, OnnxExport.MostInlineBytes, task: task);
        return (new ExportedFile(onnx, engine), []);
    }
}
