namespace Nibble.Onnx.Graphs.Lifting;

/// <summary>A graph whose nodes are changed, with the graphs around it, whose values it can read.</summary>
internal sealed class LiftScope
{
    private readonly LiftScope? outer;
    private readonly GraphProto proto;
    private readonly Dictionary<string, TensorType> types = new(StringComparer.Ordinal);
    private readonly Dictionary<string, TensorProto> constants = new(StringComparer.Ordinal);

    private LiftScope(OnnxGraph graph, string model, long version, bool hasOnlyFloat32, GraphProto proto, LiftScope? outer)
    {
        (this.outer, this.proto) = (outer, proto);
        (Graph, Model, Version, HasOnlyFloat32) = (graph, model, version, hasOnlyFloat32);
        foreach (var value in proto.Input.Concat(proto.Output).Concat(proto.ValueInfo))
        {
            if (TensorType.Of(value) is { } type)
            {
                types.TryAdd(value.Name, type);
            }
        }

        foreach (var tensor in proto.Initializer)
        {
            Add(tensor.Name, tensor);
        }

        foreach (var node in proto.Node.Where(node => node is { OpType: "Constant", Output.Count: 1 } && node.IsStandard()))
        {
            if (node.Attribute("value")?.T is { } tensor)
            {
                Add(node.Output[0], tensor);
            }
        }
    }

    /// <summary>The model's graph, which gets the constants: graphs inside nodes can read them too.</summary>
    public OnnxGraph Graph { get; }

    /// <summary>What messages call the model.</summary>
    public string Model { get; }

    /// <summary>The version of the standard operators that the nodes have.</summary>
    public long Version { get; }

    /// <summary>Whether all floating-point values of the model are float32.</summary>
    public bool HasOnlyFloat32 { get; }

    /// <summary>The scope of a model's graph.</summary>
    public static LiftScope Of(OnnxGraph graph, string model, long version) => new(graph, model, version, OnlyFloat32(graph.Model), graph.Proto, null);

    /// <summary>The scope of a graph inside a node.</summary>
    public LiftScope Inside(GraphProto inner) => new(Graph, Model, Version, HasOnlyFloat32, inner, this);

    /// <summary>The type of a value. Null if unknown.</summary>
    public TensorType? TypeOf(string value) => types.GetValueOrDefault(value) ?? outer?.TypeOf(value);

    /// <summary>The constant with a given name. Null if the value is computed.</summary>
    public TensorProto? Constant(string value) => constants.GetValueOrDefault(value) ?? outer?.Constant(value);

    /// <summary>Whether a node of the graph or its output reads a value.</summary>
    public bool IsRead(string value) =>
        proto.Output.Any(output => output.Name == value) || proto.Node.Any(node => Subgraphs.Reads(node).Contains(value, StringComparer.Ordinal));

    private void Add(string name, TensorProto tensor)
    {
        constants.TryAdd(name, tensor);
        types.TryAdd(name, new TensorType(tensor.Element(), [.. tensor.Dims.Select(size => (long?)size)]));
    }

    /// <summary>Types come from inputs, constants, and attributes that name one. Operators of other domains may bring any.</summary>
    private static bool OnlyFloat32(ModelProto model) =>
        model.Nodes().All(node => node.IsStandard()
            && node.Attribute.All(attribute => attribute.Name is not ("to" or "dtype") || !IsOtherFloat((OnnxType)attribute.I)))
        && model.Values().All(value => value.Type is null || (TensorType.Of(value) is { } type && !IsOtherFloat(type.Element)))
        && !model.Tensors().Any(tensor => IsOtherFloat(tensor.Element()));

    private static bool IsOtherFloat(OnnxType type) => type is OnnxType.Float16 or OnnxType.BFloat16 or OnnxType.Float64;
}
