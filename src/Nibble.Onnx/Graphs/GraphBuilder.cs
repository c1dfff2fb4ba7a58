using System.Globalization;
using System.Runtime.InteropServices;

namespace Nibble.Onnx.Graphs;

/// <summary>Collects the nodes, constants, inputs and outputs of a graph. Values are identified by their names.</summary>
internal sealed class GraphBuilder
{
    /// <summary>The domain of the operators that ONNX Runtime adds to the standard ones.</summary>
    public const string MicrosoftDomain = "com.microsoft";

    // Operator set 21 introduced blocked DequantizeLinear. ONNX Runtime supports it since 1.18, and its IR version is 10.
    private const int OperatorSet = 21;
    private const int IrVersion = 10;

    private readonly GraphProto graph = new();
    private readonly List<OnnxInitializer> initializers = [];
    private readonly HashSet<string> names = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> constants = new(StringComparer.Ordinal);

    /// <summary>The prefix of node names, for example the layer that the nodes belong to.</summary>
    public string Scope { get; set; } = string.Empty;

    /// <summary>The graph's constants, in the order in which they were added.</summary>
    public IReadOnlyList<OnnxInitializer> Initializers => initializers;

    /// <summary>Adds a node with one output.</summary>
    /// <param name="type">The operator.</param>
    /// <param name="inputs">The values it reads. An empty name omits an optional input.</param>
    /// <param name="attributes">long, float, string or long[] values by name.</param>
    /// <returns>The output's name.</returns>
    public string Node(string type, string[] inputs, params (string Name, object Value)[] attributes) => Add(type, inputs, string.Empty, attributes);

    /// <summary>Adds a node with an operator of ONNX Runtime.</summary>
    public string MicrosoftNode(string type, string[] inputs, params (string Name, object Value)[] attributes) =>
        Add(type, inputs, MicrosoftDomain, attributes);

    /// <summary>Adds a constant.</summary>
    /// <returns>Its name.</returns>
    /// <exception cref="ArgumentException">The name is already used.</exception>
    public string Initializer(string name, OnnxType type, IReadOnlyList<long> shape, Action<Stream> write)
    {
        if (!names.Add(name))
        {
            throw new ArgumentException($"The graph already has a value '{name}'.", nameof(name));
        }

        initializers.Add(new OnnxInitializer(name, type, shape, write));
        return name;
    }

    /// <summary>A float32 scalar.</summary>
    public string Float(float value) => Constant(OnnxType.Float32, [], [value], value.ToString("R", CultureInfo.InvariantCulture));

    /// <summary>A float64 scalar.</summary>
    public string Double(double value) => Constant(OnnxType.Float64, [], [value], value.ToString("R", CultureInfo.InvariantCulture));

    /// <summary>A scalar byte.</summary>
    public string Byte(byte value) => Constant(OnnxType.UInt8, [], [value], value.ToString(CultureInfo.InvariantCulture));

    /// <summary>An int64 scalar.</summary>
    public string Integer(long value) => Constant(OnnxType.Int64, [], [value], value.ToString(CultureInfo.InvariantCulture));

    /// <summary>A list of int64 values, for example a shape or axes.</summary>
    public string Integers(params long[] values) => Constant(OnnxType.Int64, [values.Length], values, $"[{string.Join(',', values)}]");

    /// <summary>Adds an input. Sizes that a caller chooses have names.</summary>
    /// <returns>Its name.</returns>
    public string Input(string name, OnnxType type, params object[] shape)
    {
        names.Add(name);
        graph.Input.Add(Value(name, type, shape));
        return name;
    }

    /// <summary>Makes a value an output with its own name.</summary>
    public void Output(string value, string name, OnnxType type, params object[] shape)
    {
        names.Add(name);
        graph.Node.Add(new NodeProto { OpType = "Identity", Name = name + "/Identity", Input = { value }, Output = { name } });
        graph.Output.Add(Value(name, type, shape));
    }

    /// <summary>The model, without its constants.</summary>
    /// <param name="name">The name of the graph.</param>
    /// <param name="metadata">Metadata text by name.</param>
    public ModelProto Build(string name, IEnumerable<KeyValuePair<string, string>> metadata)
    {
        graph.Name = name;
        var model = new ModelProto { IrVersion = IrVersion, ProducerName = "Nibble", ProducerVersion = OnnxModel.Version, Graph = graph };
        model.OpsetImport.Add(new OperatorSetIdProto { Version = OperatorSet });
        if (graph.Node.Any(node => node.Domain == MicrosoftDomain))
        {
            model.OpsetImport.Add(new OperatorSetIdProto { Domain = MicrosoftDomain, Version = 1 });
        }

        model.MetadataProps.AddRange(metadata.Select(entry => new StringStringEntryProto { Key = entry.Key, Value = entry.Value }));
        return model;
    }

    private string Add(string type, string[] inputs, string domain, (string Name, object Value)[] attributes)
    {
        var output = Unique(Scope.Length == 0 ? type : $"{Scope}/{type}");
        var node = new NodeProto { OpType = type, Name = output, Input = { inputs }, Output = { output } };
        if (domain.Length > 0)
        {
            node.Domain = domain;
        }

        node.Attribute.AddRange(attributes.Select(attribute => Attribute(attribute.Name, attribute.Value)));
        graph.Node.Add(node);
        return output;
    }

    private string Unique(string name)
    {
        var unique = name;
        for (var i = 1; !names.Add(unique); i++)
        {
            unique = string.Create(CultureInfo.InvariantCulture, $"{name}_{i}");
        }

        return unique;
    }

    private string Constant<T>(OnnxType type, long[] shape, T[] values, string text)
        where T : unmanaged
    {
        var key = $"constant/{type}/{text}";
        if (!constants.TryGetValue(key, out var name))
        {
            name = Initializer(key, type, shape, stream => stream.Write(MemoryMarshal.AsBytes(values.AsSpan())));
            constants.Add(key, name);
        }

        return name;
    }

    private static ValueInfoProto Value(string name, OnnxType type, object[] shape)
    {
        var sizes = new TensorShapeProto();
        sizes.Dim.AddRange(shape.Select(
            size => size is string symbol ? new TensorShapeProto.Types.Dimension { DimParam = symbol }
            : new TensorShapeProto.Types.Dimension { DimValue = Convert.ToInt64(size, CultureInfo.InvariantCulture) }));
        return new ValueInfoProto { Name = name, Type = new TypeProto { TensorType = new TypeProto.Types.Tensor { ElemType = (int)type, Shape = sizes } } };
    }

    private static AttributeProto Attribute(string name, object value) => value switch
    {
        long number => NodeAttributes.Make(name, number),
        float number => NodeAttributes.Make(name, number),
        string text => NodeAttributes.Make(name, text),
        long[] numbers => NodeAttributes.Make(name, numbers),
        _ => throw new ArgumentException($"The attribute {name} is a {value.GetType()}, expected long, float, string or long[].", nameof(value)),
    };
}
