using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Layers;

/// <summary>Adds the nodes that quantize the inputs of layers. Layers that quantize the same input in the same way share them.</summary>
internal sealed class InputNodes(GraphBuilder graph)
{
    /// <summary>The offset that is added to a signed code to store it in a byte, whatever its bit width.</summary>
    public const int Offset = 128;

    private readonly Dictionary<(string, ActivationQuantization, bool), string> values = [];
    private readonly Dictionary<(string, QuantizationScheme), (string, string)> tokens = [];

    /// <summary>The quantized values that a layer uses instead of its input, in float32.</summary>
    /// <param name="x">The input.</param>
    /// <param name="input">Its quantization.</param>
    /// <param name="fusible">
    /// Whether fixed parameters may be written as QuantizeLinear and DequantizeLinear, which engines fuse with the following product.
    /// </param>
    public string Values(string x, ActivationQuantization input, bool fusible)
    {
        if (!values.TryGetValue((x, input, fusible), out var result))
        {
            result = input.Static is not { } parameters ? PerToken(x, input.Scheme)
                : fusible ? Fixed(x, input.Scheme, parameters)
                : Composed(x, input.Scheme, graph.Float(parameters.Scale), graph.Float(parameters.ZeroPoint));
            values.Add((x, input, fusible), result);
        }

        return result;
    }

    /// <summary>The fixed parameters of an input, from the nodes that <see cref="Values"/> wrote.</summary>
    /// <param name="file">The file.</param>
    /// <param name="value">The value that <see cref="Values"/> returned.</param>
    /// <exception cref="NibbleException">The nodes are different.</exception>
    public static QuantizationParameters ReadFixed(OnnxFile file, string value)
    {
        var node = file.NodeGiving(value);
        if (node is { OpType: "DequantizeLinear", Input: [_, var scale, var code] })
        {
            return new QuantizationParameters(file.Values<float>(scale, OnnxType.Float32)[0], file.Values<byte>(code, OnnxType.UInt8)[0] - Offset);
        }

        if (node is { OpType: "Mul", Input: [var shifted, var step] } && file.NodeGiving(shifted) is { OpType: "Sub", Input: [_, var zero] }
            && file.Values<float>(zero, OnnxType.Float32)[0] is var zeroPoint && zeroPoint == (sbyte)zeroPoint)
        {
            return new QuantizationParameters(file.Values<float>(step, OnnxType.Float32)[0], (sbyte)zeroPoint);
        }

        throw file.Refused($"the input '{value}' comes from a {node.OpType}, but the metadata say it is quantized: expected DequantizeLinear, or Mul after "
            + $"Sub of an integer zero point");
    }

    /// <summary>The codes plus 128 in bytes, and a scale per token, for a symmetric scheme.</summary>
    public (string Codes, string Scale) Tokens(string x, QuantizationScheme scheme)
    {
        if (!tokens.TryGetValue((x, scheme), out var result))
        {
            var (codes, scale) = Symmetric(x, scheme);
            result = (graph.Node("Cast", [graph.Node("Add", [codes, graph.Float(Offset)])], ("to", (long)OnnxType.UInt8)), scale);
            tokens.Add((x, scheme), result);
        }

        return result;
    }

    /// <summary>
    /// Fixed parameters. QuantizeLinear divides, rounds half to even and saturates like Nibble's quantizer. Codes with fewer than 8 bits are clipped.
    /// </summary>
    private string Fixed(string x, QuantizationScheme scheme, QuantizationParameters parameters)
    {
        var (scale, zeroPoint) = (graph.Float(parameters.Scale), graph.Byte((byte)(parameters.ZeroPoint + Offset)));
        var codes = graph.Node("QuantizeLinear", [x, scale, zeroPoint]);
        if (scheme.Bits < 8)
        {
            codes = graph.Node("Clip", [codes, graph.Byte((byte)(scheme.Codes.Min + Offset)), graph.Byte((byte)(scheme.Codes.Max + Offset))]);
        }

        return graph.Node("DequantizeLinear", [codes, scale, zeroPoint]);
    }

    private string PerToken(string x, QuantizationScheme scheme)
    {
        if (scheme.Symmetric)
        {
            var (codes, scale) = Symmetric(x, scheme);
            return graph.Node("Mul", [codes, scale]);
        }

        return Asymmetric(x, scheme);
    }

    private (string Codes, string Scale) Symmetric(string x, QuantizationScheme scheme)
    {
        var largest = graph.Node("ReduceMax", [graph.Node("Abs", [x]), graph.Integers(-1)], ("keepdims", 1L));

        // Division in float gives the same result as division in double and rounding to float.
        var scale = Stored(graph.Node("Div", [largest, graph.Float(scheme.Codes.Steps / 2f)]), scheme);
        return (Clip(graph.Node("Round", [graph.Node("Div", [x, scale])]), scheme), scale);
    }

    private string Asymmetric(string x, QuantizationScheme scheme)
    {
        string End(string reduction, string widening) => graph.Node(
            "Cast", [graph.Node(widening, [graph.Node(reduction, [x, graph.Integers(-1)], ("keepdims", 1L)), graph.Float(0)])], ("to", (long)OnnxType.Float64));
        var (min, max) = (End("ReduceMin", "Min"), End("ReduceMax", "Max"));
        var exact = graph.Node("Div", [graph.Node("Sub", [max, min]), graph.Double(scheme.Codes.Steps)]);
        var scale = Stored(graph.Node("Cast", [exact], ("to", (long)OnnxType.Float32)), scheme);
        var shift = graph.Node("Div", [min, graph.Node("Cast", [scale], ("to", (long)OnnxType.Float64))]);
        var rounded = graph.Node("Cast", [graph.Node("Round", [graph.Node("Sub", [graph.Double(scheme.Codes.Min), shift])])], ("to", (long)OnnxType.Float32));
        return Composed(x, scheme, scale, Clip(rounded, scheme));
    }

    private string Composed(string x, QuantizationScheme scheme, string scale, string zeroPoint)
    {
        var codes = Clip(graph.Node("Add", [graph.Node("Round", [graph.Node("Div", [x, scale])]), zeroPoint]), scheme);
        return graph.Node("Mul", [graph.Node("Sub", [codes, zeroPoint]), scale]);
    }

    private string Clip(string x, QuantizationScheme scheme) => graph.Node("Clip", [x, graph.Float(scheme.Codes.Min), graph.Float(scheme.Codes.Max)]);

    /// <summary>A scale rounded like <see cref="QuantizationParameters.RoundScale"/>.</summary>
    private string Stored(string scale, QuantizationScheme scheme)
    {
        var stored = scale;
        if (scheme.ScalePrecision == ScalePrecision.Float16)
        {
            stored = graph.Node("Cast", [graph.Node("Cast", [scale], ("to", (long)OnnxType.Float16))], ("to", (long)OnnxType.Float32));
        }

        stored = graph.Node("Max", [stored, graph.Float(QuantizationParameters.MinScale(scheme.ScalePrecision))]);
        return graph.Node("Where", [graph.Node("Equal", [scale, graph.Float(0)]), graph.Float(1), stored]);
    }
}
