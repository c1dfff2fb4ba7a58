using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Quantization.Equivalence;

/// <summary>Finds the pairs of layers between which scales can move.</summary>
internal sealed class LayerPairs
{
    // f(s x) = s f(x) for s > 0 and each channel alone. Clip (Relu6) is not among them: its upper bound would have to be scaled too, for each channel.
    private static readonly string[] Elementwise = ["Identity", "LeakyRelu", "PRelu", "Relu"];
    private static readonly string[] Pools = ["AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"];
    private static readonly string[] Reshapes = ["Flatten", "Reshape", "Squeeze"];

    private readonly OnnxGraph graph;
    private readonly Dictionary<NodeProto, ScaledLayer> layers = new(ReferenceEqualityComparer.Instance);
    private readonly Dictionary<NodeProto, string> refusals = new(ReferenceEqualityComparer.Instance);
    private readonly List<LayerPair> pairs = [];
    private readonly List<SkippedLayer> skipped = [];

    private LayerPairs(OnnxGraph graph) => this.graph = graph;

    /// <summary>Finds all pairs of a graph. A layer can be the second of one pair and the first of another.</summary>
    /// <param name="graph">The graph.</param>
    /// <param name="objection">Why a node must stay as it is by the user's wish; null if it need not.</param>
    /// <returns>The pairs in order, and the layers that are not the first of a pair.</returns>
    public static (IReadOnlyList<LayerPair> Pairs, IReadOnlyList<SkippedLayer> Skipped) Find(OnnxGraph graph, Func<NodeProto, string?> objection)
    {
        ArgumentNullException.ThrowIfNull(graph);
        var found = new LayerPairs(graph);
        var nodes = graph.Nodes.Where(node => ScaledLayer.Is(graph, node)).ToList();
        foreach (var node in nodes)
        {
            var reason = objection(node);
            if (reason is null && ScaledLayer.Find(graph, node, out reason) is { } layer)
            {
                found.layers.Add(node, layer);
            }
            else
            {
                found.refusals.Add(node, reason!);
            }
        }

        foreach (var node in nodes)
        {
            var reason = found.refusals.GetValueOrDefault(node) ?? found.layers[node].RefusalOfOutputs(graph) ?? found.Follow(found.layers[node]);
            if (reason is not null)
            {
                found.skipped.Add(new SkippedLayer(node.Name, node.OpType, reason));
            }
        }

        return (found.pairs, found.skipped);
    }

    /// <summary>Follows the output of a layer to the next one.</summary>
    /// <returns>Why there is no pair. Null if there is one.</returns>
    private string? Follow(ScaledLayer first)
    {
        var value = first.Node.Output[0];
        var (isSecondAxis, positions) = (first.IsConvolution, 1);
        var addends = new List<(NodeProto Node, int Input)>();
        while (true)
        {
            if (graph.IsOutput(value))
            {
                return "its result is an output of the model";
            }

            if (graph.Consumers(value) is not [var next])
            {
                return graph.Consumers(value).Count == 0 ? "nothing reads its result" : "several nodes read its result";
            }

            if (next.Input.Count(input => input == value) != 1)
            {
                return "a node reads its result more than once, or in a graph of its own";
            }

            if (ScaledLayer.Is(graph, next) && next.Input[0] == value)
            {
                return Join(first, next, isSecondAxis, positions, addends);
            }

            if (!next.IsStandard() || next.Output.Count(output => output.Length > 0) != 1)
            {
                return Obstacle(next);
            }

            if (next.OpType == "Add" && positions == 1 && Addend(next, value, isSecondAxis, first.Outputs) is { } addend)
            {
                addends.Add((next, addend));
            }
            else if (Reshapes.Contains(next.OpType) && next.Input[0] == value)
            {
                if (!isSecondAxis || Flattened(value, next.Output[0], first.Outputs) is not { } flattened)
                {
                    return $"{next.OpType} follows, behind which its channels are not known to be in order";
                }

                (isSecondAxis, positions) = (false, flattened);
            }
            else if (!(Elementwise.Contains(next.OpType) && next.Input[0] == value) && !(Pools.Contains(next.OpType) && isSecondAxis))
            {
                return Obstacle(next);
            }

            value = next.Output[0];
        }
    }

    private static string Obstacle(NodeProto node) => $"{node.OpType} follows, through which channels cannot be scaled";

    private string? Join(ScaledLayer first, NodeProto next, bool isSecondAxis, int positions, List<(NodeProto Node, int Input)> addends)
    {
        if (!layers.TryGetValue(next, out var second))
        {
            return $"the layer behind it stays as it is: {refusals[next]}";
        }

        if (second.IsConvolution != isSecondAxis || (long)first.Outputs * positions != second.Inputs)
        {
            return "the layer behind it reads its channels along another axis";
        }

        pairs.Add(new LayerPair(first, second, positions, addends));
        return null;
    }

    /// <summary>The place of a constant that is added to each channel. Null if the node does something else.</summary>
    private int? Addend(NodeProto node, string value, bool isSecondAxis, int channels)
    {
        var place = node.Input[0] == value ? 1 : 0;
        if (graph.Constant(node.Input[place]) is not { Dims.Count: > 0 } constant || constant.Element() != OnnxType.Float32 || constant.Count() != channels)
        {
            return null;
        }

        // Axes are aligned at the last one. A constant with more axes than the value would add axes to it.
        var rank = graph.TypeOf(value)?.Rank;
        if (constant.Dims.Count > (rank ?? 1))
        {
            return null;
        }

        var axis = !isSecondAxis ? constant.Dims.Count - 1 : rank is { } known ? constant.Dims.Count - known + 1 : -1;
        return axis >= 0 && constant.Dims[axis] == channels ? place : null;
    }

    /// <summary>The elements of each channel side by side in a row, if [n, channels, ...] becomes [n, channels * ...].</summary>
    private int? Flattened(string value, string result, int channels)
    {
        if (graph.TypeOf(value)?.Shape is not { Count: > 1 } from || graph.TypeOf(result)?.Shape is not [_, { } length]
            || from[1] != channels || from.Skip(1).Any(size => size is null or < 1))
        {
            return null;
        }

        var row = from.Skip(1).Aggregate(1d, (product, size) => product * size!.Value);
        return row == length && length <= int.MaxValue ? (int)(length / channels) : null;
    }
}
