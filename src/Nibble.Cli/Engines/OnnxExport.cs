using Nibble.Models;
using Nibble.Onnx;

namespace Nibble.Cli.Engines;

/// <summary>Exports a folder as an ONNX file.</summary>
internal static class OnnxExport
{
    /// <summary>The format's name.</summary>
    public const string Format = "onnx";

    /// <summary>The most bytes of tensors that one file can hold in addition to its graph.</summary>
    public const long MostInlineBytes = OnnxExporter.MostInlineBytes;

    /// <summary>The second file of a model, with the tensors that are too large for the first.</summary>
    public static string DataPath(string path) => path + ".data";

    /// <summary>Writes the model of a folder, with its tokenizer next to it.</summary>
    /// <param name="model">The folder of a model or an artifact.</param>
    /// <param name="path">The file to write.</param>
    /// <param name="inlineLimit">Tensors of more bytes in total go to a second file.</param>
    /// <param name="accuracy">The precision of products of quantized weights and float inputs.</param>
    /// <param name="task">The task; null for the one that the folder specifies.</param>
    /// <param name="progress">Takes a report after each constant.</param>
    /// <param name="cancellation">Stops between constants.</param>
    /// <returns>The model's name, and what was written.</returns>
    /// <exception cref="NibbleException">The folder has no model that can be loaded, or a model that ONNX cannot express.</exception>
    public static (string Model, OnnxExportResult Written) Run(
        string model, string path, long inlineLimit, MatMulAccuracy accuracy = MatMulAccuracy.Float32, TaskConfig? task = null,
        IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        using var tensors = ModelTensors.Open(model, task);
        return (tensors.Name, OnnxExporter.Run(tensors, path, inlineLimit, accuracy, progress, cancellation));
    }
}
