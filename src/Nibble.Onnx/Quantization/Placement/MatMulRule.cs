using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Quantization.Placement;

/// <summary>Products with a constant matrix on the right.</summary>
internal sealed class MatMulRule : IPlacementRule
{
    /// <inheritdoc/>
    public IReadOnlyList<string> Operators => ["MatMul"];

    /// <inheritdoc/>
    public NodeForm? Judge(NodeProto node, OnnxGraph graph, out string reason)
    {
        var weight = graph.Constant(node.Input[1]);
        reason = weight is null ? graph.Constant(node.Input[0]) is null ? "both of its factors are computed, and quantizing both rarely pays"
                : "its constant is on the left, where ONNX Runtime expects the activation"
            : weight.Dims.Count != 2 ? $"its constant has {weight.Dims.Count} axes, expected 2"
            : string.Empty;
        return reason.Length > 0 ? null : new NodeForm(NodeRole.Product, [0], new WeightForm(1, 1, Bias: null));
    }
}
