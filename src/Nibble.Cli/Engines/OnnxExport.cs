using Nibble.Models;
using Nibble.Onnx;

namespace Nibble.Cli.Engines;

/// <summary>Exports a folder as an ONNX file.</summary>
internal static class OnnxExport
{
    /// <summary>The format's name.</summary>
    public const string Format = "onnx";

    /// <summary>The most bytes of tensors that one file can hold beside its graph.</summary>
    public const long MostInlineBytes = OnnxExporter.MostInlineBytes;

    /// <summary>The second file of a model, which holds its tensors where they are too large for the first.</summary>
    public static string DataPath(string path) => path + ".data";

    /// <summary>Writes the model of a folder, its tokenizer beside it.</summary>
    /// <param name="model">The folder of a model or an artifact.</param>
    /// <param name="path">The file to write.</param>
    /// <param name="inlineLimit">Tensors of more bytes than this go to a second file.</param>
    /// <param name="accuracy">What products of narrow weights and float inputs are computed with.</param>
    /// <param name="task">What the model is for; null is what the folder says.</param>
    /// <param name="progress">Told after each constant.</param>
    /// <param name="cancellation">Stops between constants.</param>
    /// <returns>What the model is called, and what was written.</returns>
    /// <exception cref="NibbleException">The folder holds no model that can be loaded, or one that no graph expresses.</exception>
    public static (string Model, OnnxExportResult Written) Run(
        string model, string path, long inlineLimit, MatMulAccuracy accuracy = MatMulAccuracy.Float32, TaskConfig? task = null,
        IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        using var tensors = ModelTensors.Open(model, task);
        return (tensors.Name, OnnxExporter.Run(tensors, path, inlineLimit, accuracy, progress, cancellation));
    }
}
