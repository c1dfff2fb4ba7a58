using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Quantization.Placement;

/// <summary>Operators of one activation with an integer kernel.</summary>
internal sealed class UnaryRule : IPlacementRule
{
    /// <inheritdoc/>
    public IReadOnlyList<string> Operators => ["AveragePool", "GlobalAveragePool", "LeakyRelu", "Sigmoid"];

    /// <inheritdoc/>
    public NodeForm? Judge(NodeProto node, OnnxGraph graph, out string reason)
    {
        reason = string.Empty;
        return new NodeForm(NodeRole.Arithmetic, [0]);
    }
}
