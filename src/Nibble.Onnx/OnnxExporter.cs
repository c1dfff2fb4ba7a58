using Nibble.Formats.Safetensors;
using Nibble.Onnx.Families;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx;

/// <summary>Writes a model as an ONNX graph.</summary>
public static class OnnxExporter
{
    /// <summary>The most bytes of tensors that one file can hold beside its graph.</summary>
    public const long MostInlineBytes = OnnxWriter.InlineLimit;

    /// <summary>Exports a model; the codes of an artifact are written as they are, never rounded again.</summary>
    /// <param name="tensors">The model's tensors.</param>
    /// <param name="path">The file to write; one that exists is replaced. The tokenizer's files are written beside it, and the folder is made where it is
    /// missing.</param>
    /// <param name="inlineLimit">Tensors of more bytes than this in total go to a second file, the name with <c>.data</c> behind; at most
    /// <see cref="MostInlineBytes"/>.</param>
    /// <param name="accuracy">What products of narrow weights and float inputs are computed with.</param>
    /// <param name="progress">Told after each constant.</param>
    /// <param name="cancellation">Stops between constants; nothing is left of the files.</param>
    /// <exception cref="NibbleException">The tensors are not those of the model, no graph computes it, or none expresses how it is quantized; the message says
    /// which
    /// scheme would do. Or another tokenizer lies beside the file.</exception>
    public static OnnxExportResult Run(
        ModelTensors tensors, string path, long inlineLimit = MostInlineBytes, MatMulAccuracy accuracy = MatMulAccuracy.Float32,
        IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        ArgumentNullException.ThrowIfNull(path);
        var definition = tensors.ParseDefinition();
        var family = GraphFamilies.Of(definition);
        var (graph, forms) = family.Build(definition, tensors, accuracy);
        var written = new WriteProgress("export", graph.Initializers.Count, progress, cancellation);
        return OnnxExportFiles.Write(tensors, graph, family.NameOf(definition), forms, path, family.MaxSequence(definition), inlineLimit, written);
    }
}
