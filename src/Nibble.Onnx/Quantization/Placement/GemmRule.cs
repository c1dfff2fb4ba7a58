using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Quantization.Placement;

/// <summary>Gemm with a constant matrix, alpha and beta 1, and a constant vector as bias.</summary>
internal sealed class GemmRule : IPlacementRule
{
    /// <inheritdoc/>
    public IReadOnlyList<string> Operators => ["Gemm"];

    /// <inheritdoc/>
    public NodeForm? Judge(NodeProto node, OnnxGraph graph, out string reason)
    {
        var weight = graph.Constant(node.Input[1]);
        var axis = node.Integer("transB", 0) == 0 ? 1 : 0;
        var hasBias = node.Input.Count > 2 && node.Input[2].Length > 0;
        var bias = hasBias ? graph.Constant(node.Input[2]) : null;
        reason = weight is null ? "its weight is not a constant"
            : node.Float("alpha", 1) != 1 || (hasBias && node.Float("beta", 1) != 1) ? "its alpha or beta is not 1"
            : node.Integer("transA", 0) != 0 ? "it transposes its input"
            : hasBias && (bias is null || bias.Count() != weight.Dims[axis] || bias.Dims[^1] != weight.Dims[axis]) ? "its bias is not a constant vector"
            : string.Empty;
        return reason.Length > 0 ? null : new NodeForm(NodeRole.Product, [0], new WeightForm(1, axis, hasBias ? 2 : null));
    }
}
