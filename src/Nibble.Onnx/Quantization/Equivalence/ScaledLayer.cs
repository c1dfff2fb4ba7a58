using System.Numerics.Tensors;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Quantization.Equivalence;

/// <summary>A layer whose channels are rescaled: <c>W'[o, i] = W[o, i] * in[i] / out[o]</c> and <c>b'[o] = b[o] / out[o]</c>.</summary>
/// <remarks>The factors are collected in double, and the weight is rounded once, however often they change.</remarks>
internal sealed class ScaledLayer
{
    private const double LargestFactor = 65536;

    private readonly TensorProto weight;
    private readonly bool isOutputFirst;
    private readonly int rows;
    private readonly int columns;
    private readonly int groups;

    /// <summary>The largest magnitude of each kernel, [rows, columns]: the first two axes of the weight.</summary>
    private readonly float[] magnitudes;

    private readonly double[] inputFactors;
    private readonly double[] outputFactors;
    private bool scalesOutputs;

    private ScaledLayer(NodeProto node, TensorProto weight, bool isOutputFirst, int groups)
    {
        (Node, this.weight, this.isOutputFirst, this.groups) = (node, weight, isOutputFirst, groups);
        (rows, columns) = ((int)weight.Dims[0], (int)weight.Dims[1]);
        var values = weight.Floats();
        var size = values.Length / (rows * columns);
        magnitudes = new float[rows * columns];
        for (var kernel = 0; kernel < magnitudes.Length; kernel++)
        {
            magnitudes[kernel] = Math.Abs(TensorPrimitives.MaxMagnitude<float>(values.AsSpan(kernel * size, size)));
        }

        inputFactors = Ones(isOutputFirst ? columns * groups : rows);
        outputFactors = Ones(isOutputFirst ? rows : columns * groups);
    }

    /// <summary>The node: Conv, ConvTranspose, Gemm or MatMul.</summary>
    public NodeProto Node { get; }

    /// <summary>Whether channels are the second axis of its input and output. Otherwise they are the last one.</summary>
    public bool IsConvolution => Node.OpType is "Conv" or "ConvTranspose";

    /// <summary>The number of input channels.</summary>
    public int Inputs => inputFactors.Length;

    /// <summary>The number of output channels.</summary>
    public int Outputs => outputFactors.Length;

    /// <summary>What each output channel is divided by so far.</summary>
    public ReadOnlySpan<double> OutputFactors => outputFactors;

    /// <summary>Whether a node multiplies its first input by a constant.</summary>
    public static bool Is(OnnxGraph graph, NodeProto node) => node.IsStandard() && node.OpType is "Conv" or "ConvTranspose" or "Gemm" or "MatMul"
        && node.Input.Count > 1 && graph.Constant(node.Input[1]) is not null && graph.Constant(node.Input[0]) is null;

    /// <summary>Reads a layer.</summary>
    /// <param name="graph">The graph.</param>
    /// <param name="node">A node with a constant weight (<see cref="Is"/>).</param>
    /// <param name="reason">Why the result is null, in plain words.</param>
    public static ScaledLayer? Find(OnnxGraph graph, NodeProto node, out string? reason)
    {
        ArgumentNullException.ThrowIfNull(graph);
        ArgumentNullException.ThrowIfNull(node);
        var weight = graph.Constant(node.Input[1])!;
        var isConvolution = node.OpType is "Conv" or "ConvTranspose";
        var groups = isConvolution ? node.Integer("group", 1) : 1;
        reason = weight.Element() != OnnxType.Float32 ? $"its weight has the type {weight.Element().Name()}"
            : isConvolution ? weight.Dims.Count < 3 ? $"its weight has {weight.Dims.Count} axes" : null
            : weight.Dims.Count != 2 ? $"its weight has {weight.Dims.Count} axes"
            : node.Integer("transA", 0) != 0 ? "it transposes its left input (transA)"
            : null;
        reason ??= weight.Count() == 0 ? "its weight has no values"
            : groups < 1 || groups > weight.Dims[0] || weight.Dims[0] % groups != 0 ? $"its {groups} groups do not divide its weight"
            : graph.Consumers(weight.Name).Count > 1 || graph.IsOutput(weight.Name) || node.Input.Count(input => input == weight.Name) > 1
                ? "its weight is shared"
            : weight.Floats().Any(value => !float.IsFinite(value)) ? "its weight has values that are not finite"
            : null;
        var isOutputFirst = node.OpType == "Conv" || (node.OpType == "Gemm" && node.Integer("transB", 0) != 0);
        return reason is null ? new ScaledLayer(node, weight, isOutputFirst, (int)groups) : null;
    }

    /// <summary>Why the outputs cannot be scaled. Null if they can.</summary>
    public string? RefusalOfOutputs(OnnxGraph graph)
    {
        ArgumentNullException.ThrowIfNull(graph);
        return BiasName is not { } name ? null
            : graph.Constant(name) is not { } bias || bias.Element() != OnnxType.Float32 ? "its bias is not a constant"
            : bias.Count() != 1 && (bias.Dims.Count == 0 || bias.Dims[^1] != Outputs) ? "its bias is not one number per output channel"
            : null;
    }

    /// <summary>The largest magnitude of the scaled weights of each output channel.</summary>
    public double[] OutputRanges() => Ranges(isOutputs: true);

    /// <summary>The largest magnitude of the scaled weights of each input channel.</summary>
    public double[] InputRanges() => Ranges(isOutputs: false);

    /// <summary>Divides an output channel.</summary>
    public void DivideOutput(int channel, double factor)
    {
        outputFactors[channel] *= factor;
        scalesOutputs = true;
    }

    /// <summary>Multiplies the weights of an input channel.</summary>
    public void MultiplyInput(int channel, double factor) => inputFactors[channel] *= factor;

    /// <summary>Gives the node its scaled weight and bias.</summary>
    public void Apply(OnnxGraph graph)
    {
        ArgumentNullException.ThrowIfNull(graph);
        var values = weight.Floats();
        var size = values.Length / magnitudes.Length;
        for (var kernel = 0; kernel < magnitudes.Length; kernel++)
        {
            var factor = Factor(kernel);
            foreach (ref var value in values.AsSpan(kernel * size, size))
            {
                value = (float)(value * factor);
            }
        }

        graph.SetInput(Node, 1, graph.AddConstant(TensorValues.Make(weight.Name + "/scaled", weight.Dims, values)));
        if (scalesOutputs && BiasName is { } name)
        {
            var bias = graph.Constant(name)!;
            var biases = BiasValues(bias);
            Replace(graph, Node, 2, biases.Length == bias.Count() ? bias.Dims : [biases.Length], biases, outputFactors);
        }
    }

    /// <summary>Keeps a factor between 1/65536 and 65536.</summary>
    /// <remarks>Beyond that it is no longer a matter of scales: the channel is nearly dead, and rounding would dominate.</remarks>
    public static double Limit(double factor) => Math.Clamp(factor, 1 / LargestFactor, LargestFactor);

    /// <summary>Divides the channels of a constant that a node reads. Its only axis of more than one element counts them.</summary>
    /// <param name="graph">The graph.</param>
    /// <param name="node">The node.</param>
    /// <param name="input">The place of the constant among its inputs.</param>
    /// <param name="factors">What each channel is divided by.</param>
    public static void Divide(OnnxGraph graph, NodeProto node, int input, ReadOnlySpan<double> factors)
    {
        ArgumentNullException.ThrowIfNull(graph);
        ArgumentNullException.ThrowIfNull(node);
        var constant = graph.Constant(node.Input[input])!;
        Replace(graph, node, input, constant.Dims, constant.Floats(), factors);
    }

    private static void Replace(OnnxGraph graph, NodeProto node, int input, IEnumerable<long> shape, float[] values, ReadOnlySpan<double> factors)
    {
        for (var i = 0; i < values.Length; i++)
        {
            values[i] = (float)(values[i] / factors[i % factors.Length]);
        }

        graph.SetInput(node, input, graph.AddConstant(TensorValues.Make(node.Input[input] + "/scaled", shape, values)));
    }

    private static double[] Ones(int count)
    {
        var ones = new double[count];
        Array.Fill(ones, 1);
        return ones;
    }

    private string? BiasName => Node.OpType != "MatMul" && Node.Input.Count > 2 && Node.Input[2].Length > 0 ? Node.Input[2] : null;

    /// <summary>A Gemm may add one number to all channels. They need one each if their scales differ.</summary>
    private float[] BiasValues(TensorProto bias)
    {
        var values = bias.Floats();
        return values.Length == 1 ? [.. Enumerable.Repeat(values[0], Outputs)] : values;
    }

    private double[] Ranges(bool isOutputs)
    {
        var ranges = new double[isOutputs ? Outputs : Inputs];
        for (var kernel = 0; kernel < magnitudes.Length; kernel++)
        {
            var (input, output) = Channels(kernel);
            ref var range = ref ranges[isOutputs ? output : input];
            range = Math.Max(range, magnitudes[kernel] * Factor(kernel));
        }

        return ranges;
    }

    private double Factor(int kernel)
    {
        var (input, output) = Channels(kernel);
        return inputFactors[input] / outputFactors[output];
    }

    /// <summary>The channels of a kernel. With groups, the second axis counts channels inside the group that the first axis chooses.</summary>
    private (int Input, int Output) Channels(int kernel)
    {
        var (row, column) = (kernel / columns, kernel % columns);
        var other = (row / (rows / groups) * columns) + column;
        return isOutputFirst ? (other, row) : (row, other);
    }
}
