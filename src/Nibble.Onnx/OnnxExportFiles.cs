using Nibble.Formats.Safetensors;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx;

/// <summary>Writes an exported model with all that belongs to it.</summary>
internal static class OnnxExportFiles
{
    /// <summary>Writes the tokenizer, the tensors' file where there is one, and at last the model.</summary>
    /// <param name="tensors">The model's tensors.</param>
    /// <param name="graph">Its graph.</param>
    /// <param name="name">What the graph is called; the same for all models of a kind, so that a folder's name makes no difference.</param>
    /// <param name="forms">How many linear layers the graph has in each form.</param>
    /// <param name="path">The file to write.</param>
    /// <param name="maxSequence">The most tokens that the model takes; null where nobody says.</param>
    /// <param name="inlineLimit">The most bytes of tensors that stay in the file.</param>
    /// <param name="progress">Told after each constant.</param>
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
            // Without the model, such as on a full disk, nothing of what belongs to it is left.
            Array.ForEach(beside, File.Delete);
            throw;
        }
    }

    private static IReadOnlyList<OnnxInitializer> Tracked(IReadOnlyList<OnnxInitializer> initializers, WriteProgress? progress) =>
        progress is null ? initializers : [.. initializers.Select(tensor => tensor with { Write = progress.Track(tensor.Write) })];
}
