using Nibble.Formats.Safetensors;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx;

/// <summary>Writes an exported model with its accompanying files.</summary>
internal static class OnnxExportFiles
{
    /// <summary>Writes the tokenizer, the tensor file if there is one, and finally the model.</summary>
    /// <param name="tensors">The model's tensors.</param>
    /// <param name="graph">Its graph.</param>
    /// <param name="name">The name of the graph. It is the same for all models of a kind and does not depend on the folder's name.</param>
    /// <param name="forms">The number of linear layers in each form.</param>
    /// <param name="path">The file to write.</param>
    /// <param name="maxSequence">The model's maximum number of tokens. Null if it is not known.</param>
    /// <param name="inlineLimit">The maximum size in bytes of tensors in the model's file.</param>
    /// <param name="progress">Receives progress after each constant.</param>
    public static OnnxExportResult Write(
        ModelTensors tensors, GraphBuilder graph, string name, IReadOnlyDictionary<string, int> forms, string path, int? maxSequence, long inlineLimit,
        WriteProgress? progress = null)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(inlineLimit);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(inlineLimit, OnnxWriter.InlineLimit);
        tensors.RequireFinite();
        var data = OnnxWriter.DataPath(path);
        string[] beside = [.. TokenizerFilesBeside.Write(tensors.Folder, path), .. (string[])(File.Exists(data) ? [] : [data])];
        try
        {
            var bytes = OnnxWriter.Write(path, graph.Build(name, OnnxMetadata.Of(tensors, maxSequence)), Tracked(graph.Initializers, progress), inlineLimit);
            return new OnnxExportResult(bytes, forms, graph.Initializers.Sum(tensor => tensor.ByteLength) > inlineLimit ? data : null);
        }
        catch
        {
            // If the model cannot be written, for example because the disk is full, its other files are deleted.
            Array.ForEach(beside, File.Delete);
            throw;
        }
    }

    private static IReadOnlyList<OnnxInitializer> Tracked(IReadOnlyList<OnnxInitializer> initializers, WriteProgress? progress) =>
        progress is null ? initializers : [.. initializers.Select(tensor => tensor with { Write = progress.Track(tensor.Write) })];
}
