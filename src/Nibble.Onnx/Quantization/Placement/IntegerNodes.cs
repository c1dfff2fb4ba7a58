using Nibble.Numerics;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Quantization.Placement;

/// <summary>Decides which nodes compute with integers, and which values are quantized for them.</summary>
/// <remarks>
/// Convolutions and products with constants always do. Other nodes do only where that takes fewer conversions than computing in float, and where another
/// integer node reads what they compute.
/// </remarks>
internal sealed class IntegerNodes
{
    /// <summary>An input of a Concat whose range is below this share of the output's range would lose more than 2 of its 8 bits.</summary>
    private const double LeastShare = 0.25;

    private readonly OnnxGraph graph;
    private readonly Dictionary<NodeProto, NodeForm> forms = new(ReferenceEqualityComparer.Instance);
    private readonly Dictionary<NodeProto, string> reasons = new(ReferenceEqualityComparer.Instance);

    private IntegerNodes(OnnxGraph graph) => this.graph = graph;

    /// <summary>The values that nodes read and compute that could be integer, whatever stays float in the end, in the graph's order.</summary>
    public IReadOnlyList<string> PossibleValues { get; private set; } = [];

    /// <summary>The integer nodes with their forms.</summary>
    public IReadOnlyDictionary<NodeProto, NodeForm> Forms => forms;

    /// <summary>What became of every node, in the graph's order.</summary>
    public IReadOnlyList<NodeDecision> Decisions =>
        [.. graph.Nodes.Select(node => new NodeDecision(node.Name, node.OpType, reasons.GetValueOrDefault(node)))];

    /// <summary>The nodes that could compute with integers if all around them did.</summary>
    /// <param name="graph">The graph.</param>
    /// <param name="excluded">Why a node must stay float by the user's wish; null if it need not.</param>
    public static IntegerNodes Candidates(OnnxGraph graph, Func<NodeProto, string?> excluded)
    {
        var nodes = new IntegerNodes(graph);
        foreach (var node in graph.Nodes)
        {
            var reason = excluded(node);
            var form = reason is null ? PlacementRules.Judge(node, graph, out reason) : null;
            if (form is not null)
            {
                nodes.forms.Add(node, form);
            }
            else
            {
                nodes.reasons.Add(node, reason!);
            }
        }

        var possible = nodes.forms.SelectMany(pair => Activations(pair.Key, pair.Value).Concat(pair.Key.Output)).ToHashSet(StringComparer.Ordinal);
        nodes.PossibleValues = nodes.InOrder(possible);
        nodes.Prune();
        return nodes;
    }

    /// <summary>Keeps concatenations of values with very different ranges in float, and what depended on them.</summary>
    /// <param name="range">The range of a value; null if it has none.</param>
    public void KeepMixedRanges(Func<string, ValueRange?> range)
    {
        foreach (var node in forms.Keys.Where(node => node.OpType == "Concat").ToList())
        {
            var output = Width(node.Output[0]);
            var least = node.Input.Min(Width);
            if (least < output * LeastShare)
            {
                Keep(node, $"the ranges of its inputs differ by a factor of {output / least:F0}, so that one scale does not fit all");
            }
        }

        Prune();

        double Width(string value) => range(value) is { } found ? Math.Max(found.Max, 0d) - Math.Min(found.Min, 0d) : double.PositiveInfinity;
    }

    /// <summary>The values that are quantized, in the graph's order.</summary>
    public IReadOnlyList<string> QuantizedValues()
    {
        var values = new HashSet<string>(StringComparer.Ordinal);
        foreach (var (node, form) in forms)
        {
            if (form.Role != NodeRole.Absorbed)
            {
                values.UnionWith(form.Inputs.Select(input => node.Input[input]).Where(value => graph.Constant(value) is null));
            }

            if (form.Role == NodeRole.Convolution)
            {
                values.Add(Result(node));
            }
        }

        return InOrder(values);
    }

    /// <summary>The value from which a value takes its scale: the source of the data, through nodes that only move it.</summary>
    public string Source(string value)
    {
        while (graph.Producer(value) is { } node && forms.TryGetValue(node, out var form) && form.Role == NodeRole.Move)
        {
            value = node.Input[form.Inputs[0]];
        }

        return value;
    }

    private IReadOnlyList<string> InOrder(HashSet<string> values) =>
        [.. graph.Inputs.Select(input => input.Name).Concat(graph.Nodes.SelectMany(node => node.Output)).Where(values.Contains)];

    /// <summary>What a node computes, after the nodes that it absorbs.</summary>
    private string Result(NodeProto node)
    {
        var value = node.Output[0];
        while (graph.Consumers(value) is [var next] && forms.TryGetValue(next, out var form) && form.Role == NodeRole.Absorbed)
        {
            value = next.Output[0];
        }

        return value;
    }

    private void Prune()
    {
        for (var again = true; again;)
        {
            again = false;
            foreach (var node in graph.Nodes.Where(forms.ContainsKey))
            {
                if (Objection(node, forms[node]) is { } reason)
                {
                    Keep(node, reason);
                    again = true;
                }
            }
        }
    }

    private string? Objection(NodeProto node, NodeForm form)
    {
        if (form.Role is NodeRole.Convolution or NodeRole.Product)
        {
            return null;
        }

        if (form.Role == NodeRole.Absorbed)
        {
            return graph.Producer(node.Input[form.Inputs[0]]) is { } before && forms.TryGetValue(before, out var other) && other.Role != NodeRole.Move ? null
                : "the node before it stays float";
        }

        if (!node.Output.Any(HasIntegerReader))
        {
            return "no integer node reads what it computes";
        }

        // In float, each integer input and the output are converted; with integers, each float input is.
        var computed = form.Inputs.Select(input => node.Input[input]).Where(value => graph.Constant(value) is null).ToList();
        var lacking = computed.Where(value => !IsQuantizedAnyway(node, value)).ToList();
        return lacking.Count < computed.Count - lacking.Count + 1 && (form.Role != NodeRole.Move || lacking.Count == 0) ? null
            : "its input is float, and quantizing it would cost more than it saves";
    }

    private static IEnumerable<string> Activations(NodeProto node, NodeForm form) => form.Inputs.Select(input => node.Input[input]);

    /// <summary>Whether an integer node reads a value, at once or through the nodes that are absorbed.</summary>
    private bool HasIntegerReader(string value) => graph.Consumers(value).Any(
        reader => forms.TryGetValue(reader, out var form)
            && (form.Role == NodeRole.Absorbed ? HasIntegerReader(reader.Output[0]) : Activations(reader, form).Contains(value)));

    /// <summary>
    /// Whether a value is quantized even if a given node is not: constants, what integer nodes compute, and what convolutions and products read.
    /// </summary>
    private bool IsQuantizedAnyway(NodeProto node, string value) =>
        graph.Constant(value) is not null
        || (graph.Producer(value) is { } producer && forms.ContainsKey(producer))
        || graph.Consumers(value).Any(
            other => other != node && forms.TryGetValue(other, out var form) && form.Role is NodeRole.Convolution or NodeRole.Product
                && Activations(other, form).Contains(value));

    private void Keep(NodeProto node, string reason)
    {
        forms.Remove(node);
        reasons[node] = reason;
    }
}
