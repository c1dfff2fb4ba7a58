using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Encoders;

/// <summary>Writes a BERT-family encoder that classifies sequences as an ONNX graph.</summary>
public static class EncoderExporter
{
    /// <summary>Exports a model; the codes of an artifact are written as they are, never rounded again.</summary>
    /// <param name="tensors">The model's tensors.</param>
    /// <param name="shape">Its shape.</param>
    /// <param name="path">The file to write; one that exists is replaced. The tokenizer's files are written beside it, and the folder is made where it is missing.</param>
    /// <param name="inlineLimit">Tensors of more bytes than this in total go to a second file, the name with <c>.data</c> behind; at most <see cref="Decoders.DecoderExporter.MostInlineBytes"/>.</param>
    /// <param name="accuracy">What products of narrow weights and float inputs are computed with.</param>
    /// <exception cref="NibbleException">The tensors are not those of the shape, or no graph expresses how the model is quantized; the message says which scheme would do. Or another tokenizer lies beside the file.</exception>
    public static OnnxExportResult Run(ModelTensors tensors, EncoderShape shape, string path, long inlineLimit = OnnxWriter.InlineLimit, MatMulAccuracy accuracy = MatMulAccuracy.Float32)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        ArgumentNullException.ThrowIfNull(shape);
        ArgumentNullException.ThrowIfNull(path);
        var (graph, forms) = EncoderGraph.Build(shape, tensors, accuracy);
        return OnnxExportFiles.Write(tensors, graph, "classifier", forms, path, shape.MaxPositions - shape.FirstPosition, inlineLimit);
    }
}
