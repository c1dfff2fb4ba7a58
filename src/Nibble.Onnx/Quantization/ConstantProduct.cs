using Nibble.Onnx.Graphs;
using Nibble.Onnx.Layers;

namespace Nibble.Onnx.Quantization;

/// <summary>A MatMul or Gemm by a constant matrix, <c>y = x W + b</c>.</summary>
/// <param name="Node">The node.</param>
/// <param name="Input">The value of x, [..., in].</param>
/// <param name="Weight">The matrix W, [in, out], or [out, in] if <paramref name="IsTransposed"/>.</param>
/// <param name="IsTransposed">Whether the matrix is stored as [out, in].</param>
/// <param name="Bias">A constant of one value per output that is added. Null if there is none.</param>
/// <param name="Add">The node that adds <paramref name="Bias"/>. Null if <paramref name="Node"/> does.</param>
/// <param name="Addend">Another value that a Gemm adds. Null if there is none.</param>
internal sealed record ConstantProduct(
    NodeProto Node, string Input, TensorProto Weight, bool IsTransposed, TensorProto? Bias = null, NodeProto? Add = null, string? Addend = null)
{
    /// <summary>The length of a row of x.</summary>
    public int Inputs => (int)Weight.Dims[IsTransposed ? 1 : 0];

    /// <summary>The length of a row of y.</summary>
    public int Outputs => (int)Weight.Dims[IsTransposed ? 0 : 1];

    /// <summary>Finds the parts of a product.</summary>
    /// <param name="graph">The graph.</param>
    /// <param name="node">A MatMul or Gemm.</param>
    /// <param name="reason">Why the result is null: what no integer kernel can compute, in plain words.</param>
    public static ConstantProduct? Find(OnnxGraph graph, NodeProto node, out string? reason)
    {
        var isGemm = node.OpType == "Gemm";
        reason = Refusal(graph, node) ?? (isGemm ? RefusalOfGemm(node) : null);
        if (reason is not null)
        {
            return null;
        }

        var product = new ConstantProduct(node, node.Input[0], graph.Constant(node.Input[1])!, isGemm && node.Integer("transB", 0) != 0);
        return isGemm ? product.WithAddend(graph) : product.WithFollowingAdd(graph);
    }

    /// <summary>The weights, [out, in].</summary>
    public float[] Rows()
    {
        var values = Weight.Floats();
        return IsTransposed ? values : Matrices.Transpose<float>(values, Inputs, Outputs);
    }

    /// <summary>Computes the product by an operator of ONNX Runtime.</summary>
    /// <param name="graph">The graph.</param>
    /// <param name="type">The operator.</param>
    /// <param name="inputs">What it reads after x. An empty name omits an optional input.</param>
    /// <param name="biasAt">The place of the bias among all inputs.</param>
    /// <param name="attributes">Its attributes.</param>
    public void Replace(OnnxGraph graph, string type, IEnumerable<string> inputs, int biasAt, params IEnumerable<AttributeProto> attributes)
    {
        ArgumentNullException.ThrowIfNull(graph);
        graph.RequireOperatorSet(GraphBuilder.MicrosoftDomain, 1);
        List<string> read = [Input, .. inputs];
        if (Bias is not null)
        {
            read.AddRange(Enumerable.Repeat(string.Empty, biasAt - read.Count));
            read.Add(Vector(graph, Bias));
        }

        if (Add is not null)
        {
            Node.Output[0] = Add.Output[0];
            graph.Remove(Add);
        }

        if (Addend is null)
        {
            graph.Replace(Node, GraphBuilder.MicrosoftDomain, type, read, attributes);
        }
        else
        {
            graph.Replace(Node, string.Empty, "Add", [graph.AddNode(GraphBuilder.MicrosoftDomain, type, Node.Name + "/" + type, read, attributes), Addend]);
        }
    }

    private static string? Refusal(OnnxGraph graph, NodeProto node)
    {
        if (graph.Constant(node.Input[1]) is not { } weight)
        {
            return "its right input is not a constant";
        }

        return weight.Element() != OnnxType.Float32 ? $"its weight has the type {weight.Element().Name()}, and only float weights are quantized"
            : weight.Dims.Count != 2 ? $"its weight has {weight.Dims.Count} axes, and kernels take 2"
            : weight.Count() == 0 ? "its weight has no values"
            : weight.Floats().Any(value => !float.IsFinite(value)) ? "its weight has values that are not finite"
            : graph.TypeOf(node.Input[0])?.Rank < 2 ? "its left input has fewer than 2 axes"
            : null;
    }

    private static string? RefusalOfGemm(NodeProto node) =>
        node.Integer("transA", 0) != 0 ? "it transposes its left input (transA)"
        : node.Float("alpha", 1) != 1 ? FormattableString.Invariant($"it multiplies by alpha {node.Float("alpha", 1)}")
        : node.Float("beta", 1) != 1 && HasAddend(node) ? FormattableString.Invariant($"it multiplies its third input by beta {node.Float("beta", 1)}")
        : null;

    private static bool HasAddend(NodeProto node) => node.Input.Count > 2 && node.Input[2].Length > 0;

    private ConstantProduct WithAddend(OnnxGraph graph) =>
        !HasAddend(Node) ? this
        : graph.Constant(Node.Input[2]) is { } constant && IsVector(constant) ? this with { Bias = constant }
        : this with { Addend = Node.Input[2] };

    private ConstantProduct WithFollowingAdd(OnnxGraph graph)
    {
        var output = Node.Output[0];
        if (graph.IsOutput(output) || graph.Consumers(output) is not [{ OpType: "Add", Domain: "" or "ai.onnx", Input: [var left, var right] } add]
            || left == right)
        {
            return this;
        }

        return graph.Constant(left == output ? right : left) is { } constant && IsVector(constant) ? this with { Bias = constant, Add = add } : this;
    }

    // Rows of y have at least one axis before them, so that a vector with one more axis of size 1 adds the same values.
    private bool IsVector(TensorProto constant) =>
        constant.Element() == OnnxType.Float32 && constant.Dims.Count is 1 or 2
        && constant.Dims[^1] == Outputs && constant.Count() == Outputs;

    private static string Vector(OnnxGraph graph, TensorProto bias) =>
        bias.Dims.Count == 1 ? bias.Name : graph.AddConstant(TensorValues.Make(bias.Name + "/vector", [bias.Count()], bias.Floats()));
}
