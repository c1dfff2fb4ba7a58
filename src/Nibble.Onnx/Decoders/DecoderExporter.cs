using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Decoders;

/// <summary>Writes a Llama-family decoder as an ONNX graph with a key-value cache.</summary>
public static class DecoderExporter
{
    /// <summary>The most bytes of tensors that one file can hold beside its graph.</summary>
    public const long MostInlineBytes = OnnxWriter.InlineLimit;

    /// <summary>Exports a model; the codes of an artifact are written as they are, never rounded again.</summary>
    /// <param name="tensors">The model's tensors.</param>
    /// <param name="shape">Its shape.</param>
    /// <param name="path">The file to write; one that exists is replaced. The tokenizer's files are written beside it, and the folder is made where it is missing.</param>
    /// <param name="inlineLimit">Tensors of more bytes than this in total go to a second file, the name with <c>.data</c> behind; at most <see cref="MostInlineBytes"/>.</param>
    /// <param name="accuracy">What products of narrow weights and float inputs are computed with.</param>
    /// <exception cref="NibbleException">The tensors are not those of the shape, or no graph expresses how the model is quantized; the message says which scheme would do. Or another tokenizer lies beside the file.</exception>
    public static OnnxExportResult Run(ModelTensors tensors, DecoderShape shape, string path, long inlineLimit = MostInlineBytes, MatMulAccuracy accuracy = MatMulAccuracy.Float32)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        ArgumentNullException.ThrowIfNull(shape);
        ArgumentNullException.ThrowIfNull(path);
        var (graph, forms) = DecoderGraph.Build(shape, tensors, accuracy);
        return OnnxExportFiles.Write(tensors, graph, "decoder", forms, path, shape.MaxSequence, inlineLimit);
    }
}
