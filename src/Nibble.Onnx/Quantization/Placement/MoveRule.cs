using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Quantization.Placement;

/// <summary>Operators that only move data, or choose among it. They cost nothing if their input and output share a scale.</summary>
internal sealed class MoveRule : IPlacementRule
{
    /// <inheritdoc/>
    public IReadOnlyList<string> Operators =>
    [
        "MaxPool", "Reshape", "Transpose", "Slice", "Gather", "Squeeze", "Unsqueeze", "Flatten", "Expand", "Tile", "Split", "Resize", "ReduceMax", "ReduceMin",
    ];

    /// <inheritdoc/>
    public NodeForm? Judge(NodeProto node, OnnxGraph graph, out string reason)
    {
        reason = node.OpType switch
        {
            _ when graph.Constant(node.Input[0]) is not null => "what it chooses from is a constant, whose range was not calibrated",
            "MaxPool" when graph.OperatorSet < 12 => "a MaxPool below operator set 12 has no integer kernel",
            "MaxPool" when node.Output.Count > 1 => "it also gives positions",
            "Resize" when node.Text("mode", "nearest") != "nearest" => $"only the nearest mode has an integer kernel, found {node.Text("mode", "nearest")}",
            _ => string.Empty,
        };
        return reason.Length > 0 ? null : new NodeForm(NodeRole.Move, [0]);
    }
}
