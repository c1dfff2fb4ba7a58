using System.Text.RegularExpressions;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Quantization;

/// <summary>Chooses nodes by name, glob, operator, or place in the graph.</summary>
internal sealed class NodeFilter
{
    private const string Before = "before:";
    private const string After = "after:";

    private readonly HashSet<NodeProto> excluded = new(ReferenceEqualityComparer.Instance);
    private readonly HashSet<NodeProto>? only;

    /// <summary>Reads patterns.</summary>
    /// <exception cref="NibbleException">A pattern matches nothing.</exception>
    public NodeFilter(OnnxGraph graph, IReadOnlyList<string> exclude, IReadOnlyList<string> only)
    {
        excluded.UnionWith(exclude.SelectMany(pattern => Matches(graph, pattern)));
        this.only = only.Count == 0 ? null : new HashSet<NodeProto>(only.SelectMany(pattern => Matches(graph, pattern)), ReferenceEqualityComparer.Instance);
    }

    /// <summary>Why a node must stay float. Null if it need not.</summary>
    public string? Objection(NodeProto node) =>
        excluded.Contains(node) ? "it is excluded" : only?.Contains(node) == false ? "it is not among the chosen nodes" : null;

    private static List<NodeProto> Matches(OnnxGraph graph, string pattern)
    {
        var found = pattern.StartsWith(Before, StringComparison.Ordinal) ? Reached(graph, pattern[Before.Length..], node =>
                Subgraphs.Reads(node).Select(graph.Producer).OfType<NodeProto>())
            : pattern.StartsWith(After, StringComparison.Ordinal) ? Reached(graph, pattern[After.Length..], node => node.Output.SelectMany(graph.Consumers))
            : Named(graph, pattern);
        return found.Count > 0 ? found
            : throw new NibbleException(
                $"No node of the model matches '{pattern}'. Expected a node's name, a glob such as /model/head/*, an operator such as "
                + $"{graph.Nodes.Select(node => node.OpType).FirstOrDefault("Conv")}, {Before}NODE or {After}NODE.");
    }

    private static List<NodeProto> Named(OnnxGraph graph, string pattern)
    {
        var glob = new Regex(
            "^" + Regex.Escape(pattern).Replace("\\*", ".*", StringComparison.Ordinal) + "$", RegexOptions.CultureInvariant | RegexOptions.NonBacktracking);
        return [.. graph.Nodes.Where(node => node.OpType == pattern || glob.IsMatch(node.Name))];
    }

    private static List<NodeProto> Reached(OnnxGraph graph, string name, Func<NodeProto, IEnumerable<NodeProto>> next)
    {
        var reached = new HashSet<NodeProto>(ReferenceEqualityComparer.Instance);
        var waiting = new Stack<NodeProto>(Named(graph, name).SelectMany(next));
        while (waiting.TryPop(out var node))
        {
            if (reached.Add(node))
            {
                foreach (var other in next(node))
                {
                    waiting.Push(other);
                }
            }
        }

        return [.. reached];
    }
}
