using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Quantization.Placement;

/// <summary>Relu and Clip after a node that computes: the range of the quantized output does their work.</summary>
internal sealed class ClampRule : IPlacementRule
{
    /// <inheritdoc/>
    public IReadOnlyList<string> Operators => ["Relu", "Clip"];

    /// <inheritdoc/>
    public NodeForm? Judge(NodeProto node, OnnxGraph graph, out string reason)
    {
        var bounds = node.Input.Skip(1).Where(input => input.Length > 0).ToList();
        reason = bounds.Any(bound => graph.Constant(bound) is null) ? "its bounds are not constants"
            : node.OpType == "Clip" && !IncludesZero(node, graph) ? "its bounds exclude zero, which a quantized range includes"
            : graph.Producer(node.Input[0]) is null ? "no node computes its input"
            : graph.Consumers(node.Input[0]).Count > 1 || graph.IsOutput(node.Input[0]) ? "others also read its input"
            : string.Empty;
        return reason.Length > 0 ? null : new NodeForm(NodeRole.Absorbed, [0]);
    }

    private static bool IncludesZero(NodeProto node, OnnxGraph graph) =>
        Bound(node, 1, "min", graph, float.NegativeInfinity) <= 0 && Bound(node, 2, "max", graph, float.PositiveInfinity) >= 0;

    private static float Bound(NodeProto node, int input, string attribute, OnnxGraph graph, float otherwise) =>
        node.Input.Count > input && node.Input[input].Length > 0 ? graph.Constant(node.Input[input])!.Floats().FirstOrDefault(otherwise)
        : node.Float(attribute, otherwise);
}
