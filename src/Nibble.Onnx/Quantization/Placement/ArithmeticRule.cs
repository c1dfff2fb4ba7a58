using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Quantization.Placement;

/// <summary>Additions and multiplications of activations, and the addition of a bias to a product of matrices.</summary>
internal sealed class ArithmeticRule : IPlacementRule
{
    /// <inheritdoc/>
    public IReadOnlyList<string> Operators => ["Add", "Mul"];

    /// <inheritdoc/>
    public NodeForm? Judge(NodeProto node, OnnxGraph graph, out string reason)
    {
        reason = string.Empty;
        if (node.OpType == "Add" && IsBias(node.Input[0], node.Input[1], graph))
        {
            return new NodeForm(NodeRole.Absorbed, [0]);
        }

        if (node.OpType == "Add" && IsBias(node.Input[1], node.Input[0], graph))
        {
            return new NodeForm(NodeRole.Absorbed, [1]);
        }

        var computed = node.Input.Count(input => graph.Constant(input) is null);
        reason = computed == 0 ? "it computes a constant" : string.Empty;
        return computed == 0 ? null : new NodeForm(NodeRole.Arithmetic, [0, 1]);
    }

    /// <summary>
    /// Whether a value is a product of matrices that only one node reads, and another is a vector to add to its rows. ONNX Runtime adds it in float.
    /// </summary>
    private static bool IsBias(string product, string vector, OnnxGraph graph) =>
        graph.Constant(vector) is { Dims.Count: 1 }
        && graph.Producer(product) is { OpType: "MatMul" } node && graph.Constant(node.Input[1]) is not null
        && graph.Consumers(product).Count == 1 && !graph.IsOutput(product);
}
