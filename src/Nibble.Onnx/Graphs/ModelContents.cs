namespace Nibble.Onnx.Graphs;

/// <summary>All that a model holds, wherever it stands: in its graph, in graphs inside nodes, or in functions.</summary>
internal static class ModelContents
{
    /// <summary>The model's graph and the graphs inside nodes, those of functions included. A graph comes before those inside it.</summary>
    public static IEnumerable<GraphProto> Graphs(this ModelProto model) =>
        model.Functions.SelectMany(function => function.Node).SelectMany(Subgraphs.Of).Prepend(model.Graph).SelectMany(WithInner);

    /// <summary>The nodes of all graphs and functions.</summary>
    public static IEnumerable<NodeProto> Nodes(this ModelProto model) =>
        model.Graphs().SelectMany(graph => graph.Node).Concat(model.Functions.SelectMany(function => function.Node));

    /// <summary>The constants: those of graphs, and those in attributes of nodes. Sparse ones are not among them.</summary>
    public static IEnumerable<TensorProto> Tensors(this ModelProto model) => model.Graphs().SelectMany(graph => graph.Initializer)
        .Concat(model.Attributes().SelectMany(attribute => attribute.T is { } tensor ? attribute.Tensors.Prepend(tensor) : attribute.Tensors));

    /// <summary>The attributes of all nodes, and the defaults of functions' attributes.</summary>
    public static IEnumerable<AttributeProto> Attributes(this ModelProto model) =>
        model.Nodes().SelectMany(node => node.Attribute).Concat(model.Functions.SelectMany(function => function.AttributeProto));

    /// <summary>The values whose types the model says: inputs, outputs and others.</summary>
    public static IEnumerable<ValueInfoProto> Values(this ModelProto model) =>
        model.Graphs().SelectMany(graph => graph.Input.Concat(graph.Output).Concat(graph.ValueInfo))
            .Concat(model.Functions.SelectMany(function => function.ValueInfo));

    /// <summary>Whether a node's operator is a standard one.</summary>
    public static bool IsStandard(this NodeProto node) => node.Domain is "" or "ai.onnx";

    private static IEnumerable<GraphProto> WithInner(GraphProto graph) => graph.Node.SelectMany(Subgraphs.Of).SelectMany(WithInner).Prepend(graph);
}
