using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Quantization.Placement;

/// <summary>Concatenations. Their inputs may have scales of their own.</summary>
internal sealed class ConcatRule : IPlacementRule
{
    /// <inheritdoc/>
    public IReadOnlyList<string> Operators => ["Concat"];

    /// <inheritdoc/>
    public NodeForm? Judge(NodeProto node, OnnxGraph graph, out string reason)
    {
        reason = node.Input.Any(input => graph.Constant(input) is not null) ? "one of its inputs is a constant" : string.Empty;
        return reason.Length > 0 ? null : new NodeForm(NodeRole.Arithmetic, [.. Enumerable.Range(0, node.Input.Count)]);
    }
}
