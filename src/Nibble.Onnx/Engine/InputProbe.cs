using Google.Protobuf;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using Nibble.Numerics;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Layers;

namespace Nibble.Onnx.Engine;

/// <summary>A model whose graph has additional outputs: the codes of the inputs of its linear layers.</summary>
/// <remarks>
/// Layers are recognized by the names that <see cref="LinearNodes"/> gives their constants. From these, the codes are found by following the graph backwards.
/// </remarks>
internal sealed class InputProbe
{
    private const string CodesSuffix = $".weight.{UnsignedWeight.CodesName}";

    private readonly Dictionary<string, Probed> layers = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> outputs = new(StringComparer.Ordinal);
    private readonly GraphProto graph;
    private readonly HashSet<string> constants;
    private readonly Dictionary<string, NodeProto> producers;
    private readonly ILookup<string, NodeProto> consumers;

    private InputProbe(GraphProto graph)
    {
        this.graph = graph;
        constants = [.. graph.Initializer.Select(tensor => tensor.Name)];
        producers = graph.Node.SelectMany(node => node.Output.Select(output => (output, node)))
            .ToDictionary(item => item.output, item => item.node, StringComparer.Ordinal);
        consumers = graph.Node.SelectMany(node => node.Input.Distinct().Select(input => (input, node)))
            .ToLookup(item => item.input, item => item.node, StringComparer.Ordinal);
        foreach (var name in constants.Where(name => name.EndsWith(CodesSuffix, StringComparison.Ordinal)))
        {
            var layer = name[..^CodesSuffix.Length];
            if (Product(name) is { } product && Input(product) is { } input)
            {
                layers.Add(layer, input with { Columns = constants.Contains(UnsignedWeight.ColumnsName(layer)) ? UnsignedWeight.ColumnsName(layer) : null });
            }
        }

        foreach (var value in layers.Values.SelectMany(input => (string?[])[input.Codes, input.Scale, input.ZeroPoint, input.Columns]).OfType<string>()
            .Distinct())
        {
            outputs.Add(value, PutOut(value));
        }
    }

    /// <summary>The additional outputs of the graph.</summary>
    public IReadOnlyCollection<string> Outputs => outputs.Values;

    /// <summary>Adds the outputs to a file's graph.</summary>
    /// <param name="path">The file. It is not changed.</param>
    /// <returns>The outputs, and the model with them. Tensors outside the file stay there.</returns>
    /// <exception cref="NibbleException">The file is not an ONNX model.</exception>
    public static (InputProbe Probe, byte[] Model) Of(string path)
    {
        try
        {
            using var stream = File.OpenRead(path);
            var model = ModelProto.Parser.ParseFrom(stream);
            var probe = new InputProbe(model.Graph ?? throw new NibbleException($"{path} is not a valid ONNX model: it has no graph"));
            return (probe, model.ToByteArray());
        }
        catch (Exception exception) when (exception is InvalidProtocolBufferException or ArgumentException)
        {
            throw new NibbleException($"{path} is not a valid ONNX model: {exception.Message}", exception);
        }
    }

    /// <summary>The codes of the inputs by the layers' names. Layers that read the same codes share one object.</summary>
    /// <param name="values">The values of the outputs, in their order.</param>
    public IReadOnlyDictionary<string, TokenCodes> Read(IEnumerable<OrtValue> values)
    {
        var found = outputs.Keys.Zip(values).ToDictionary(item => item.First, item => item.Second, StringComparer.Ordinal);
        var read = new Dictionary<Probed, TokenCodes>();
        foreach (var input in layers.Values.Distinct())
        {
            var codes = Array.ConvertAll(Numbers(found[input.Codes]), code => (sbyte)code);
            read.Add(input, new TokenCodes(
                input.Columns is { } columns ? Unordered(codes, found[columns].GetTensorDataAsSpan<long>()) : codes,
                Numbers(found[input.Scale]),
                input.ZeroPoint is { } zeroPoint ? Numbers(found[zeroPoint]) : [0]));
        }

        return layers.ToDictionary(layer => layer.Key, layer => read[layer.Value], StringComparer.Ordinal);
    }

    /// <summary>The product whose right factor is a weight.</summary>
    private NodeProto? Product(string weight)
    {
        var node = Consumer(weight);
        return node?.OpType == "DequantizeLinear" ? Consumer(node.Output[0]) is { OpType: "MatMul" } product ? product : null
            : node?.OpType is "MatMulInteger" or "MatMulNBits" ? node
            : null;
    }

    /// <summary>The values that hold the codes of a product's left factor. Null if it is float.</summary>
    private Probed? Input(NodeProto product)
    {
        // The sums of byte products are multiplied by the scale of each token.
        if (product is { OpType: "MatMulInteger", Input: [var bytes, _, var offset, ..] })
        {
            return Consumer(product.Output[0]) is { OpType: "Cast" } sums && Consumer(sums.Output[0]) is { OpType: "Mul", Input: [_, var tokens] }
                ? new Probed(bytes, tokens, offset) : null;
        }

        return producers.GetValueOrDefault(product.Input[0]) switch
        {
            { OpType: "DequantizeLinear", Input: [var codes, var scale, var zeroPoint] } => new Probed(codes, scale, zeroPoint),
            { OpType: "Mul", Input: [var codes, var scale] } => producers.GetValueOrDefault(codes) switch
            {
                { OpType: "Sub", Input: [var shifted, var zeroPoint] } when IsClipped(shifted) => new Probed(shifted, scale, zeroPoint),
                { OpType: "Clip" } => new Probed(codes, scale, null),
                _ => null,
            },
            _ => null,
        };
    }

    private bool IsClipped(string value) => producers.GetValueOrDefault(value)?.OpType == "Clip";

    private NodeProto? Consumer(string value) => consumers[value].ToList() is [var only] ? only : null;

    /// <summary>Makes a value an output. A constant needs an additional node for that.</summary>
    private string PutOut(string value)
    {
        var name = value;
        if (constants.Contains(value))
        {
            name = $"{value}/output";
            graph.Node.Add(new NodeProto { OpType = "Identity", Name = name, Input = { value }, Output = { name } });
        }

        graph.Output.Add(new ValueInfoProto { Name = name });
        return name;
    }

    /// <summary>Signed values. Unsigned bytes are codes or zero points plus <see cref="InputNodes.Offset"/>.</summary>
    private static float[] Numbers(OrtValue value) => value.GetTensorTypeAndShape().ElementDataType == TensorElementType.UInt8
        ? Array.ConvertAll(value.GetTensorDataAsSpan<byte>().ToArray(), code => (float)(code - InputNodes.Offset))
        : value.GetTensorDataAsSpan<float>().ToArray();

    /// <summary>Restores the order of the columns of codes to that of the layer's input.</summary>
    private static sbyte[] Unordered(sbyte[] codes, ReadOnlySpan<long> columns)
    {
        var result = new sbyte[codes.Length];
        for (var i = 0; i < codes.Length; i++)
        {
            var column = i % columns.Length;
            result[i - column + (int)columns[column]] = codes[i];
        }

        return result;
    }

    /// <summary>The names of the values that represent a layer's input.</summary>
    private sealed record Probed(string Codes, string Scale, string? ZeroPoint)
    {
        /// <summary>The order of the columns of the codes. Null if it is the input's own order.</summary>
        public string? Columns { get; init; }
    }
}
