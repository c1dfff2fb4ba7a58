using Nibble.Formats.Safetensors;
using Nibble.Onnx.Families;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx;

/// <summary>Exports a model as an ONNX graph.</summary>
public static class OnnxExporter
{
    /// <summary>The maximum size in bytes of tensors that one file can hold in addition to its graph.</summary>
    public const long MostInlineBytes = OnnxWriter.InlineLimit;

    /// <summary>Exports a model. The codes of an artifact are written unchanged and never rounded again.</summary>
    /// <param name="tensors">The model's tensors.</param>
    /// <param name="path">
    /// The file to write. An existing file is replaced. The tokenizer's files are written next to it, and the folder is created if it is missing.
    /// </param>
    /// <param name="inlineLimit">
    /// The maximum total size of tensors in the file, in bytes, at most <see cref="MostInlineBytes"/>. Larger models keep their tensors in a second file with
    /// <c>.data</c> added to the name. Default: <see cref="MostInlineBytes"/>.
    /// </param>
    /// <param name="accuracy">The arithmetic of products of low-bit weights and float inputs. Default: <see cref="MatMulAccuracy.Float32"/>.</param>
    /// <param name="progress">Receives progress after each constant.</param>
    /// <param name="cancellation">Cancels between constants. No files are left.</param>
    /// <exception cref="NibbleException">
    /// The tensors do not match the model, no graph computes it, or no graph expresses its quantization. In the last case, the message names a scheme that
    /// works. Or another model's tokenizer is next to the file.
    /// </exception>
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
