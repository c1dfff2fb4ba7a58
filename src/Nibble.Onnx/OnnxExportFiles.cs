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
    public static OnnxExportResult Write(
        ModelTensors tensors, GraphBuilder graph, string name, IReadOnlyDictionary<string, int> forms, string path, int? maxSequence, long inlineLimit)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(inlineLimit);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(inlineLimit, OnnxWriter.InlineLimit);
        tensors.RequireFinite();
        var data = OnnxWriter.DataPath(path);
        string[] beside = [.. TokenizerFilesBeside.Write(tensors.Folder, path), .. (string[])(File.Exists(data) ? [] : [data])];
        try
        {
            var bytes = OnnxWriter.Write(path, graph.Build(name, OnnxMetadata.Of(tensors, maxSequence)), graph.Initializers, inlineLimit);
            return new OnnxExportResult(bytes, forms, graph.Initializers.Sum(tensor => tensor.ByteLength) > inlineLimit ? data : null);
        }
        catch
        {
            // Without the model, such as on a full disk, nothing of what belongs to it is left.
            Array.ForEach(beside, File.Delete);
            throw;
        }
    }
}
