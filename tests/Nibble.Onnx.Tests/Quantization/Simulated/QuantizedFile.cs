using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Tests.Quantization.Simulated;

/// <summary>Checks what a statically quantized file must hold, from the float graph alone.</summary>
/// <param name="prepared">The float graph as quantization received it.</param>
/// <param name="quantized">The file.</param>
internal sealed class QuantizedFile(OnnxGraph prepared, OnnxGraph quantized)
{
    /// <summary>The largest code of a bias, but for the rounding of its scale.</summary>
    private const long LargestBias = 1L << 30;

    /// <summary>The operators that only move data.</summary>
    public static readonly IReadOnlySet<string> Moves = new HashSet<string>(
        ["MaxPool", "Reshape", "Transpose", "Slice", "Gather", "Squeeze", "Unsqueeze", "Flatten", "Split", "Resize"], StringComparer.Ordinal);

    /// <summary>The number of convolutions and products with quantized weights.</summary>
    public int Weighted { get; private set; }

    /// <summary>The number of nodes that only move codes.</summary>
    public int Moved { get; private set; }

    /// <summary>The number of codes that are not the nearest.</summary>
    public int Clipped { get; private set; }

    /// <summary>Checks everything.</summary>
    public QuantizedFile Check()
    {
        Assert.InRange(quantized.OperatorSet, 13, 24);
        Assert.Equal(prepared.Inputs.Select(input => input.Name), quantized.Inputs.Select(input => input.Name));
        Assert.Equal(prepared.Proto.Output.Select(output => output.Name), quantized.Proto.Output.Select(output => output.Name));
        CheckActivations();
        foreach (var node in quantized.Nodes.Where(node => node.OpType is "Conv" or "MatMul" or "Gemm"))
        {
            if (quantized.Producer(node.Input[1]) is { OpType: "DequantizeLinear" } weight && quantized.Constant(weight.Input[0])?.Element() == OnnxType.Int8)
            {
                CheckWeight(node, weight);
                Weighted++;
            }
        }

        return this;
    }

    private void CheckActivations()
    {
        var quantizers = quantized.Nodes.Where(node => node.OpType == "QuantizeLinear").ToList();
        Assert.Equal(quantizers.Count, quantizers.Select(node => node.Input[0]).Distinct().Count());
        foreach (var quantizer in quantizers)
        {
            // All that read the value read its codes, which one DequantizeLinear with the same scale and zero point reads.
            Assert.False(quantized.IsOutput(quantizer.Input[0]));
            Assert.Single(quantized.Consumers(quantizer.Input[0]));
            var dequantizer = Assert.Single(quantized.Consumers(quantizer.Output[0]));
            Assert.Equal("DequantizeLinear", dequantizer.OpType);
            Assert.Equal(quantizer.Input.Skip(1), dequantizer.Input.Skip(1));
            Assert.True(quantized.Consumers(dequantizer.Output[0]).Count > 0 || quantized.IsOutput(dequantizer.Output[0]));
            Assert.Equal(OnnxType.UInt8, quantized.Constant(quantizer.Input[2])!.Element());
            Assert.Empty(quantized.Constant(quantizer.Input[1])!.Dims);
            Assert.InRange(Scale(quantizer), float.Epsilon, float.MaxValue);
        }

        // Codes that only move keep their scale.
        foreach (var node in quantized.Nodes.Where(node => Moves.Contains(node.OpType)))
        {
            if (quantized.Producer(node.Input[0]) is { OpType: "DequantizeLinear" } before)
            {
                foreach (var after in node.Output.SelectMany(quantized.Consumers).Where(next => next.OpType == "QuantizeLinear"))
                {
                    Moved++;
                    Assert.Equal(Scale(before), Scale(after));
                    Assert.Equal(quantized.Constant(before.Input[2])!.Integers(), quantized.Constant(after.Input[2])!.Integers());
                }
            }
        }
    }

    private float Scale(NodeProto node) => quantized.Constant(node.Input[1])!.Floats()[0];

    private void CheckWeight(NodeProto node, NodeProto weight)
    {
        var source = prepared.Nodes.Single(other => other.Name == node.Name);
        Assert.Equal(source.OpType, node.OpType);
        var original = prepared.Constant(source.Input[1])!;
        var (values, shape) = (original.Floats(), original.Dims.Select(size => (int)size).ToArray());
        var axis = node.OpType == "Conv" || node.Integer("transB", 0) != 0 ? 0 : 1;
        Assert.Equal(axis, weight.Integer("axis", 1));
        var (codes, scales) = (quantized.Constant(weight.Input[0])!.Integers(), quantized.Constant(weight.Input[1])!.Floats());
        Assert.Equal(original.Dims, quantized.Constant(weight.Input[0])!.Dims);
        Assert.Equal(shape[axis], scales.Length);
        Assert.All(quantized.Constant(weight.Input[2])!.Integers(), zero => Assert.Equal(0, zero));
        var channels = new List<long>[scales.Length];
        for (var i = 0; i < values.Length; i++)
        {
            var channel = SimulatedTensor.Place(i, shape)[axis];

            // A code is the nearest, or clipped towards zero so that its pair does not saturate.
            var nearest = (long)Math.Clamp(MathF.Round(values[i] / scales[channel], MidpointRounding.ToEven), -127, 127);
            Assert.InRange(codes[i], Math.Min(nearest, 0), Math.Max(nearest, 0));
            Clipped += codes[i] == nearest ? 0 : 1;
            (channels[channel] ??= []).Add(codes[i]);
        }

        var biases = node.Input.Count > 2 && node.Input[2].Length > 0 ? quantized.Constant(quantized.Producer(node.Input[2])!.Input[0])!.Integers() : [];
        foreach (var (i, channel) in channels.Index())
        {
            // The scale is no larger than the guard against saturation and the bias need.
            var isLarge = channel.TrueForAll(code => code == 0) || channel.Max(Math.Abs) >= 63
                || (biases.Length > 0 && Math.Abs(biases[i]) >= LargestBias - 128);
            Assert.True(isLarge, $"{node.Name} has codes of up to {channel.Max(Math.Abs)} alone");
            CheckPairs(node, channel, shape);
        }

        if (node.Input.Count > 2 && node.Input[2].Length > 0)
        {
            CheckBias(node, source, scales);
        }
    }

    /// <summary>No two neighbours in an order of a kernel exceed 16 bits when they are multiplied by 255 and added.</summary>
    private static void CheckPairs(NodeProto node, List<long> codes, int[] shape)
    {
        if (node.OpType == "Conv" && shape[1] == 1 && node.Integer("group", 1) > 1)
        {
            return;
        }

        // Kernels of convolutions read the input channels of one position in a row.
        var kernel = codes.Count / shape[1];
        RequireSafe(node, node.OpType == "Conv"
            ? [.. Enumerable.Range(0, codes.Count).Select(i => codes[(i % shape[1] * kernel) + (i / shape[1])])] : codes);
    }

    private static void RequireSafe(NodeProto node, List<long> codes)
    {
        for (var i = 0; i + 1 < codes.Count; i += 2)
        {
            var (first, second) = (codes[i], codes[i + 1]);
            Assert.True(first * second <= 0 || Math.Abs(first + second) <= 128, $"{node.Name} has the neighbours {first} and {second}");
        }
    }

    private void CheckBias(NodeProto node, NodeProto source, float[] scales)
    {
        var bias = quantized.Producer(node.Input[2])!;
        var expected = prepared.Constant(source.Input[2])!.Floats();
        var input = Scale(quantized.Producer(node.Input[0])!);
        var codes = quantized.Constant(bias.Input[0])!;
        Assert.Equal("DequantizeLinear", bias.OpType);
        Assert.Equal(OnnxType.Int32, codes.Element());
        Assert.Equal(0, bias.Integer("axis", 1));
        Assert.Equal(scales.Select(scale => input * scale), quantized.Constant(bias.Input[1])!.Floats());
        var rounded = expected.Zip(scales, (value, scale) => Math.Round((double)value / (input * scale), MidpointRounding.ToEven));
        Assert.Equal(rounded.Select(code => (long)code), codes.Integers());
        Assert.All(codes.Integers(), code => Assert.InRange(code, -LargestBias - 128, LargestBias + 128));
    }
}
