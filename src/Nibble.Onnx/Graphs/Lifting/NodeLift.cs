using System.Globalization;

namespace Nibble.Onnx.Graphs.Lifting;

/// <summary>A node that is changed, and the nodes that its change adds around it.</summary>
/// <param name="scope">The graph that holds the node.</param>
/// <param name="node">The node.</param>
internal sealed class NodeLift(LiftScope scope, NodeProto node)
{
    private readonly List<NodeProto> before = [];
    private readonly List<NodeProto> after = [];

    /// <summary>The node.</summary>
    public NodeProto Node => node;

    /// <summary>The nodes to compute before it, in order.</summary>
    public IEnumerable<NodeProto> NodesBefore => before;

    /// <summary>The nodes to compute after it, in order.</summary>
    public IEnumerable<NodeProto> NodesAfter => after;

    /// <summary>The number of axes of an input. Null if unknown.</summary>
    public int? Rank(int input) => scope.TypeOf(Input(input))?.Rank;

    /// <summary>The values of an input. Null if they are computed.</summary>
    public float[]? Floats(int input) => scope.Constant(Input(input))?.Floats();

    /// <summary>The name of an input.</summary>
    /// <exception cref="NibbleException">The node does not have it.</exception>
    public string Input(int input) => input < node.Input.Count && node.Input[input].Length > 0 ? node.Input[input]
        : throw Fault(string.Create(CultureInfo.InvariantCulture, $"has {node.Input.Count} inputs, expected at least {input + 1}"));

    /// <summary>Whether anything reads a value of the graph that holds the node.</summary>
    public bool IsRead(string value) => value.Length > 0 && scope.IsRead(value);

    /// <summary>Removes an attribute. Null if the node does not have it.</summary>
    public AttributeProto? Take(string name)
    {
        var attribute = node.Attribute(name);
        if (attribute is not null)
        {
            node.Attribute.Remove(attribute);
        }

        return attribute;
    }

    /// <summary>Removes an attribute that the operator requires.</summary>
    /// <exception cref="NibbleException">The node does not have it.</exception>
    public AttributeProto Require(string name) => Take(name) ?? throw Fault($"has no attribute '{name}', expected one");

    /// <summary>Makes the node read a value as the input of a given number.</summary>
    public void SetInput(int input, string value)
    {
        while (node.Input.Count <= input)
        {
            node.Input.Add(string.Empty);
        }

        node.Input[input] = value;
    }

    /// <summary>Adds a list of whole numbers.</summary>
    /// <returns>Its name.</returns>
    public string Constant(string name, IReadOnlyCollection<long> values) =>
        scope.Graph.AddConstant(TensorValues.Make(Named(name), [values.Count], [.. values]));

    /// <summary>Adds a list of float32 numbers.</summary>
    /// <returns>Its name.</returns>
    public string Constant(string name, IReadOnlyCollection<float> values, params IEnumerable<long> shape) =>
        scope.Graph.AddConstant(TensorValues.Make(Named(name), shape, [.. values]));

    /// <summary>Adds a number of the type of the node's first input.</summary>
    /// <returns>Its name.</returns>
    public string Scalar(string name, float value)
    {
        var number = Constant(name, [value]);
        return scope.HasOnlyFloat32 || scope.TypeOf(Input(0))?.Element == OnnxType.Float32 ? number : Before("CastLike", name, [number, Input(0)]);
    }

    /// <summary>Adds a node before this one.</summary>
    /// <returns>The name of its output.</returns>
    public string Before(string type, string name, string[] inputs, params AttributeProto[] attributes)
    {
        var output = scope.Graph.Unique(Named(name));
        before.Add(New(type, output, inputs, output, attributes));
        return output;
    }

    /// <summary>Makes a node compute what this node computed. It reads this node's output and other values.</summary>
    public void After(string type, string name, string[] others, params AttributeProto[] attributes)
    {
        var own = scope.Graph.Unique(Named(name));
        after.Add(New(type, own, [own, .. others], node.Output[0], attributes));
        node.Output[0] = own;
    }

    /// <summary>The error for a node that cannot be changed.</summary>
    public NibbleException Fault(string fault) => new(
        $"{scope.Model}: the node '{(node.Name.Length > 0 ? node.Name : node.Output.FirstOrDefault())}' with the operator {node.OpType} of operator set "
        + string.Create(CultureInfo.InvariantCulture, $"{scope.Version} {fault}. It cannot be changed to operator set {OperatorSetLift.Target}."));

    private string Named(string name) => $"{(node.Name.Length > 0 ? node.Name : node.OpType)}/{name}";

    private static NodeProto New(string type, string name, string[] inputs, string output, AttributeProto[] attributes) =>
        new() { OpType = type, Name = name, Input = { inputs }, Output = { output }, Attribute = { attributes } };
}
