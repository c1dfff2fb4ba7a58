namespace Nibble.Onnx.Graphs;

/// <summary>The graphs inside nodes such as If and Loop, which also read values from outside of them.</summary>
internal static class Subgraphs
{
    /// <summary>The graphs that a node holds.</summary>
    public static IEnumerable<GraphProto> Of(NodeProto node) =>
        node.Attribute.SelectMany(attribute => attribute.G is { } graph ? attribute.Graphs.Prepend(graph) : attribute.Graphs);

    /// <summary>The values that a node reads, those that its graphs read from outside included. A value may appear more than once.</summary>
    public static IEnumerable<string> Reads(NodeProto node) => node.Input.Where(value => value.Length > 0).Concat(Of(node).SelectMany(ReadsFromOutside));

    /// <summary>Makes a node, and the graphs inside it, read another value.</summary>
    public static void Rename(NodeProto node, string value, string by)
    {
        for (var i = 0; i < node.Input.Count; i++)
        {
            node.Input[i] = node.Input[i] == value ? by : node.Input[i];
        }

        foreach (var graph in Of(node).Where(graph => !Own(graph).Contains(value)))
        {
            foreach (var inner in graph.Node)
            {
                Rename(inner, value, by);
            }

            foreach (var output in graph.Output.Where(output => output.Name == value))
            {
                output.Name = by;
            }
        }
    }

    /// <summary>All names that a graph gives to values and nodes, graphs inside it included.</summary>
    public static IEnumerable<string> Names(GraphProto graph) =>
        Own(graph).Concat(graph.Node.Select(node => node.Name)).Concat(graph.Node.SelectMany(Of).SelectMany(Names));

    private static IEnumerable<string> ReadsFromOutside(GraphProto graph)
    {
        var own = Own(graph);
        return graph.Node.SelectMany(Reads).Concat(graph.Output.Select(output => output.Name)).Where(value => !own.Contains(value));
    }

    private static HashSet<string> Own(GraphProto graph) =>
        [.. graph.Input.Select(value => value.Name), .. graph.Initializer.Select(tensor => tensor.Name), .. graph.Node.SelectMany(node => node.Output)];
}
