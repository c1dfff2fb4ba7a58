using System.Globalization;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Tests.Shared;

/// <summary>Makes small models of any operator set.</summary>
internal sealed class TestModel
{
    private int values;
    private GraphProto graph;

    public TestModel(int operatorSet)
    {
        graph = new GraphProto { Name = "g" };
        Model = new ModelProto { IrVersion = 7, Graph = graph, OpsetImport = { new OperatorSetIdProto { Version = operatorSet } } };
    }

    public ModelProto Model { get; }

    /// <summary>Adds an input.</summary>
    public string Input(string name, OnnxType type, params IEnumerable<long?> shape)
    {
        graph.Input.Add(new TensorType(type, [.. shape]).Describe(name));
        return name;
    }

    public string Constant(TensorProto tensor)
    {
        tensor.Name = tensor.Name.Length > 0 ? tensor.Name : Next("c");
        graph.Initializer.Add(tensor);
        return tensor.Name;
    }

    public string Floats(float[] values, params IEnumerable<long> shape) => Constant(TensorValues.Make(string.Empty, shape, values));

    public string Integers(long[] values, params IEnumerable<long> shape) => Constant(TensorValues.Make(string.Empty, shape, values));

    /// <summary>Adds a node with one output.</summary>
    public string Node(string type, string[] inputs, params AttributeProto[] attributes) => Nodes(type, 1, inputs, attributes)[0];

    /// <summary>Adds a node with several outputs.</summary>
    public string[] Nodes(string type, int outputs, string[] inputs, params AttributeProto[] attributes)
    {
        var parts = type.Split(':');
        var node = new NodeProto { OpType = parts[^1], Name = Next(parts[^1]), Input = { inputs }, Attribute = { attributes } };
        if (parts.Length > 1)
        {
            node.Domain = parts[0];
        }

        node.Output.AddRange(Enumerable.Range(0, outputs).Select(_ => Next("v")));
        graph.Node.Add(node);
        return [.. node.Output];
    }

    /// <summary>A graph to be put into a node. It can read the values of the graph around it.</summary>
    /// <param name="name">The attribute's name.</param>
    /// <param name="make">Adds the nodes and gives the output.</param>
    public AttributeProto Inside(string name, Func<string> make)
    {
        var outer = graph;
        graph = new GraphProto { Name = name };
        Output(make());
        (var inner, graph) = (graph, outer);
        return new AttributeProto { Name = name, Type = AttributeProto.Types.AttributeType.Graph, G = inner };
    }

    /// <summary>Says the type of a value.</summary>
    public void Type(string value, OnnxType type, IEnumerable<long> shape) =>
        graph.ValueInfo.Add(new TensorType(type, [.. shape.Select(size => (long?)size)]).Describe(value));

    /// <summary>Makes a value an output.</summary>
    public TestModel Output(string value, OnnxType type = OnnxType.Float32)
    {
        graph.Output.Add(new TensorType(type, null).Describe(value));
        return this;
    }

    private string Next(string prefix) => string.Create(CultureInfo.InvariantCulture, $"{prefix}{values++}");
}
