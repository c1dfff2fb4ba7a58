using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Quantization.Placement;

/// <summary>Convolutions with constant weights.</summary>
internal sealed class ConvolutionRule : IPlacementRule
{
    /// <inheritdoc/>
    public IReadOnlyList<string> Operators => ["Conv"];

    /// <inheritdoc/>
    public NodeForm? Judge(NodeProto node, OnnxGraph graph, out string reason)
    {
        var hasBias = node.Input.Count > 2 && node.Input[2].Length > 0;
        reason = graph.Constant(node.Input[1]) is null ? "its weight is not a constant"
            : hasBias && graph.Constant(node.Input[2]) is null ? "its bias is not a constant"
            : string.Empty;
        return reason.Length > 0 ? null : new NodeForm(NodeRole.Convolution, [0], new WeightForm(1, 0, hasBias ? 2 : null));
    }
}
