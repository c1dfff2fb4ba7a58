using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Quantization;

/// <summary>Goes over the nodes of a graph for the modes that need no calibration of activations, and writes down what became of each.</summary>
internal static class WeightPass
{
    /// <summary>The reason of nodes that do not multiply by constants.</summary>
    public const string NoWeights = "it has no weights";

    /// <summary>Quantizes the products by constant matrices and the tables of a graph, in place.</summary>
    /// <param name="graph">The graph.</param>
    /// <param name="product">Replaces a product and says what was done. It also receives all products of the graph that share the stored matrix.</param>
    /// <param name="convolution">Why a convolution stays float. It may change how its weight is stored.</param>
    /// <param name="objection">Why a node must stay as it is by the user's wish; null if it need not.</param>
    /// <param name="cancellation">Stops between nodes.</param>
    /// <returns>A decision for each node of the graph, in order.</returns>
    public static IReadOnlyList<NodeDecision> Run(
        OnnxGraph graph,
        Func<ConstantProduct, IReadOnlyList<ConstantProduct>, NodeDecision> product,
        Func<NodeProto, string> convolution,
        Func<NodeProto, string?> objection,
        CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(graph);
        var nodes = graph.Nodes.Select(node => (Proto: node, node.Name, Operator: node.OpType)).ToList();

        // Found before any node changes: a matrix that several products share is stored once, for all of them.
        var (products, reasons) = Find(graph, objection);
        var shared = products.Values.ToLookup(found => (found.Weight.Name, found.IsTransposed));
        var added = products.Values.Where(found => found.Add is not null).Select(found => found.Add!).ToHashSet(ReferenceEqualityComparer.Instance);
        var tables = new EmbeddingTables(graph);
        var decisions = new List<NodeDecision>(nodes.Count);
        foreach (var node in nodes)
        {
            cancellation.ThrowIfCancellationRequested();
            decisions.Add(
                products.TryGetValue(node.Proto, out var found) ? product(found, [.. shared[(found.Weight.Name, found.IsTransposed)]])
                : new NodeDecision(node.Name, node.Operator, added.Contains(node.Proto) ? null
                    : reasons.GetValueOrDefault(node.Proto) ?? objection(node.Proto) ?? Keep(graph, node.Proto, tables, convolution)));
        }

        graph.RemoveUnusedConstants();
        graph.Sort();
        return decisions;
    }

    private static (Dictionary<NodeProto, ConstantProduct> Products, Dictionary<NodeProto, string> Reasons) Find(
        OnnxGraph graph, Func<NodeProto, string?> objection)
    {
        var products = new Dictionary<NodeProto, ConstantProduct>(ReferenceEqualityComparer.Instance);
        var reasons = new Dictionary<NodeProto, string>(ReferenceEqualityComparer.Instance);
        foreach (var node in graph.Nodes.Where(node => node.IsStandard() && node.OpType is "MatMul" or "Gemm"))
        {
            var reason = objection(node);
            if (reason is null && ConstantProduct.Find(graph, node, out reason) is { } found)
            {
                products.Add(node, found);
            }
            else
            {
                reasons.Add(node, reason!);
            }
        }

        return (products, reasons);
    }

    private static string? Keep(OnnxGraph graph, NodeProto node, EmbeddingTables tables, Func<NodeProto, string> convolution) =>
        node.IsStandard() && node.OpType is "Gather" ? tables.Apply(node)
        : node.IsStandard() && node.OpType is "Conv" or "ConvTranspose" ? convolution(node)
        : Subgraphs.Of(node).Any() ? "the nodes of the graphs inside it are not quantized"
        : node.Input.Any(value => graph.Constant(value) is { Dims.Count: > 1 } tensor && tensor.Element() == OnnxType.Float32)
            ? "only MatMul, Gemm and the tables of Gather are quantized"
        : NoWeights;
}
