using Nibble.Numerics;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Quantization.Placement;

namespace Nibble.Onnx.Quantization;

/// <summary>Inserts QuantizeLinear and DequantizeLinear around integer nodes, and quantizes their weights and biases.</summary>
/// <remarks>
/// One QuantizeLinear for each value, and all that read the value behind its one DequantizeLinear: ONNX Runtime fuses nothing else. Activations are unsigned
/// bytes, weights are signed bytes with a scale for each output channel, biases are 32-bit integers whose scale is that of the input times that of the weight.
/// Where a bias would not fit, the scale of the weight is raised.
/// </remarks>
internal sealed class QdqWriter
{
    /// <summary>The largest code of a bias: it leaves as much room for the sum of products, which is added to it in 32 bits.</summary>
    private const int LargestBias = 1 << 30;

    private readonly OnnxGraph graph;
    private readonly IntegerNodes nodes;
    private readonly Func<string, ByteGrid> grid;
    private readonly bool guards;
    private readonly string domain;
    private readonly Dictionary<string, (string Scale, string ZeroPoint)> grids = new(StringComparer.Ordinal);

    private QdqWriter(OnnxGraph graph, IntegerNodes nodes, Func<string, ByteGrid> grid, bool guards)
    {
        this.graph = graph;
        this.nodes = nodes;
        this.grid = grid;
        this.guards = guards;

        // The standard operators have an axis since operator set 13. ONNX Runtime's own always had one.
        domain = graph.OperatorSet >= 13 ? string.Empty : GraphBuilder.MicrosoftDomain;
    }

    /// <summary>Changes a graph.</summary>
    /// <param name="graph">The float graph.</param>
    /// <param name="nodes">Its integer nodes.</param>
    /// <param name="grid">The grid of a value that others may take their scale from.</param>
    /// <param name="guards">Whether weights must be such that 16-bit sums of two products cannot saturate, as on processors without VNNI.</param>
    /// <returns>The quantized weights, by node.</returns>
    public static IReadOnlyDictionary<string, ChannelCodes> Write(OnnxGraph graph, IntegerNodes nodes, Func<string, ByteGrid> grid, bool guards)
    {
        var writer = new QdqWriter(graph, nodes, grid, guards);
        var values = nodes.QuantizedValues();
        var sources = values.ToDictionary(value => value, nodes.Source, StringComparer.Ordinal);
        var weights = new Dictionary<string, ChannelCodes>(StringComparer.Ordinal);
        foreach (var (node, form) in nodes.Forms)
        {
            if (form.Weight is { } weight)
            {
                weights[node.Name] = writer.QuantizeWeight(node, form.Inputs[0], weight);
            }

            if (form.Role != NodeRole.Absorbed)
            {
                foreach (var input in form.Inputs.Where(input => graph.Constant(node.Input[input]) is not null))
                {
                    writer.QuantizeConstant(node, input);
                }
            }
        }

        foreach (var value in values)
        {
            graph.InsertAfter(value, read => writer.Dequantized(value, writer.Quantized(value, read, sources[value]), sources[value]));
        }

        if (writer.domain.Length > 0)
        {
            graph.RequireOperatorSet(writer.domain, 1);
        }

        graph.Sort();
        graph.RemoveUnusedConstants();
        return weights;
    }

    private string Quantized(string value, string read, string source)
    {
        var (scale, zeroPoint) = Grid(source);
        return graph.AddNode(domain, "QuantizeLinear", value + "/codes", [read, scale, zeroPoint]);
    }

    private string Dequantized(string value, string codes, string source)
    {
        var (scale, zeroPoint) = Grid(source);
        return graph.AddNode(domain, "DequantizeLinear", value + "/dequantized", [codes, scale, zeroPoint]);
    }

    private (string Scale, string ZeroPoint) Grid(string source)
    {
        if (!grids.TryGetValue(source, out var names))
        {
            var found = grid(source);
            names = Grid(source, found);
            grids.Add(source, names);
        }

        return names;
    }

    private (string Scale, string ZeroPoint) Grid(string value, ByteGrid found) => (
        graph.AddConstant(TensorValues.Make(value + "/scale", [], [found.Scale])),
        graph.AddConstant(TensorValues.Make(value + "/zero_point", [], [found.ZeroPoint])));

    /// <summary>Quantizes a constant that a node reads like an activation.</summary>
    private void QuantizeConstant(NodeProto node, int input)
    {
        var tensor = graph.Constant(node.Input[input])!;
        var values = tensor.Floats();
        var found = ByteGrid.Of(values.Length == 0 ? default : Quantizer.Measure(values).Range);
        var (scale, zeroPoint) = Grid(tensor.Name, found);
        var codes = graph.AddConstant(TensorValues.Make(tensor.Name + "/codes", tensor.Dims, found.Quantize(values)));
        graph.SetInput(node, input, graph.AddNode(domain, "DequantizeLinear", tensor.Name + "/dequantized", [codes, scale, zeroPoint]));
    }

    /// <summary>Quantizes a node's weight and bias.</summary>
    private ChannelCodes QuantizeWeight(NodeProto node, int activation, WeightForm form)
    {
        var tensor = graph.Constant(node.Input[form.Input])!;
        var orders = guards ? KernelOrders.Of(node, tensor) : null;
        var inputScale = grid(nodes.Source(node.Input[activation])).Scale;
        var bias = form.Bias is { } position ? graph.Constant(node.Input[position]) : null;
        var values = bias?.Floats() ?? [];
        var least = Array.ConvertAll(values, value => (float)Math.Min(Math.Abs(value) / (double)LargestBias / inputScale, float.MaxValue));
        var weight = ChannelQuantizer.Quantize(tensor, form.Axis, orders, least);

        // Nodes that share a weight get a copy each: ONNX Runtime refuses shared codes if it is told to avoid saturation (x64quantprecision).
        var codesOfWeight = TensorValues.Make(tensor.Name + "/codes", tensor.Dims, weight.Codes);
        graph.SetInput(node, form.Input, Dequantized(tensor.Name, codesOfWeight, weight.Scales, form.Axis));
        if (bias is not null)
        {
            var codes = new int[values.Length];
            var scales = new float[values.Length];
            for (var channel = 0; channel < values.Length; channel++)
            {
                scales[channel] = inputScale * weight.Scales[channel];
                codes[channel] = (int)Math.Clamp(Math.Round(values[channel] / (double)scales[channel], MidpointRounding.ToEven), int.MinValue, int.MaxValue);
            }

            var name = TensorValues.Make(node.Name + "/bias/codes", [values.Length], codes);
            graph.SetInput(node, form.Bias!.Value, Dequantized(node.Name + "/bias", name, scales, axis: 0));
        }

        return weight;
    }

    private string Dequantized(string name, TensorProto codes, float[] scales, int axis)
    {
        // ONNX Runtime replaces a missing zero point by a scalar, which it then refuses for a channel axis.
        var zeroPoints = codes.Element() == OnnxType.Int8 ? TensorValues.Make(name + "/zero_points", [scales.Length], new sbyte[scales.Length])
            : TensorValues.Make(name + "/zero_points", [scales.Length], new int[scales.Length]);
        return graph.AddNode(
            domain,
            "DequantizeLinear",
            name + "/dequantized",
            [graph.AddConstant(codes), graph.AddConstant(TensorValues.Make(name + "/scales", [scales.Length], scales)), graph.AddConstant(zeroPoints)],
            NodeAttributes.Make("axis", axis));
    }
}
