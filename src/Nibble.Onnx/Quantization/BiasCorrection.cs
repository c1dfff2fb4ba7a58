using System.Numerics.Tensors;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using Nibble.Onnx.Engine;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Quantization;

/// <summary>Changes biases so that the mean of each output channel is that of the float model.</summary>
/// <remarks>
/// Rounded weights shift the mean of what a layer computes. The shift is measured on the quantized graph itself, layer by layer, each with the corrected layers
/// before it (Nagel et al. 2019, section 4.2, empirical form).
/// </remarks>
internal sealed class BiasCorrection
{
    /// <summary>The most samples that are measured on, and kept for it.</summary>
    public const int MeasuredSamples = 32;

    private readonly PreparedModel model;
    private readonly QuantizedGraph quantized;
    private readonly IReadOnlyList<IReadOnlyCollection<NamedOnnxValue>> samples;
    private readonly OnnxQuantizationOptions options;
    private readonly CancellationToken cancellation;

    private BiasCorrection(
        PreparedModel model,
        QuantizedGraph quantized,
        IEnumerable<IReadOnlyCollection<NamedOnnxValue>> samples,
        OnnxQuantizationOptions options,
        CancellationToken cancellation)
    {
        (this.model, this.quantized, this.options, this.cancellation) = (model, quantized, options, cancellation);
        this.samples = [.. samples.Take(MeasuredSamples)];
    }

    /// <summary>Corrects the biases of a graph in place.</summary>
    /// <param name="model">The float model.</param>
    /// <param name="quantized">The quantized graph.</param>
    /// <param name="samples">The samples of the calibration, of which the first are used.</param>
    /// <param name="options">The states, and the sizes of inputs.</param>
    /// <param name="progress">Takes the number of layers so far.</param>
    /// <param name="cancellation">Stops between layers.</param>
    public static void Apply(
        PreparedModel model,
        QuantizedGraph quantized,
        IEnumerable<IReadOnlyCollection<NamedOnnxValue>> samples,
        OnnxQuantizationOptions options,
        IProgress<RunProgress>? progress,
        CancellationToken cancellation)
    {
        var correction = new BiasCorrection(model, quantized, samples, options, cancellation);
        var single = model.Graph();
        var layers = quantized.Graph.Nodes.Select(node => (Node: node, Bias: correction.BiasOf(node))).Where(layer => layer.Bias is not null).ToList();
        if (layers.Count == 0)
        {
            return;
        }

        var outputs = single.Nodes.ToDictionary(node => node.Name, node => node.Output[0], StringComparer.Ordinal);
        var expected = correction.Means(single, [.. layers.Select(layer => (outputs[layer.Node.Name], ChannelAxis(layer.Node)))]);
        for (var i = 0; i < layers.Count; i++)
        {
            var (node, bias) = layers[i];
            var found = correction.Means(quantized.Graph, [(node.Output[0], ChannelAxis(node))])[0];
            Shift(bias!.Value.Codes, bias.Value.Scales, expected[i], found);
            progress?.Report(new RunProgress("correct biases", i + 1, layers.Count));
        }
    }

    private static int? ChannelAxis(NodeProto node) => node.OpType == "Conv" ? 1 : null;

    /// <summary>The constants of a quantized bias: 32-bit codes and their scales.</summary>
    private (TensorProto Codes, float[] Scales)? BiasOf(NodeProto node) =>
        node.OpType is "Conv" or "Gemm" && node.Input.Count > 2 && quantized.Graph.Producer(node.Input[2]) is { OpType: "DequantizeLinear" } bias
            && quantized.Graph.Constant(bias.Input[0]) is { } codes && codes.Element() == OnnxType.Int32
            ? (codes, quantized.Graph.Constant(bias.Input[1])!.Floats()) : null;

    /// <summary>The mean of each channel of values, over samples and positions.</summary>
    /// <param name="graph">The graph.</param>
    /// <param name="values">The values, with the axis of their channels; null for the last one.</param>
    private double[][] Means(OnnxGraph graph, IReadOnlyList<(string Value, int? Axis)> values)
    {
        cancellation.ThrowIfCancellationRequested();
        var parts = model.Memory.Parts(values.Select(value => value.Value));
        using var sessions = new ProbedParts(graph, parts, model.Folder);
        var means = new List<double[]>();
        for (var part = 0; part < parts.Count; part++)
        {
            using var session = new StatefulSession(sessions.Open(part), options);
            means.AddRange(Means(session, [.. values.Skip(means.Count).Take(parts[part].Count)]));
        }

        return [.. means];
    }

    private double[][] Means(StatefulSession session, IReadOnlyList<(string Value, int? Axis)> values)
    {
        List<string> names = [.. values.Select(value => value.Value)];
        var sums = new double[values.Count][];
        var counts = new long[values.Count];
        foreach (var sample in samples)
        {
            using var outputs = session.Run(sample, names);
            foreach (var (output, i) in outputs.Take(names.Count).Select((output, i) => (output, i)))
            {
                var tensor = (DenseTensor<float>)output.AsTensor<float>();
                var axis = values[i].Axis ?? tensor.Dimensions.Length - 1;
                var channels = tensor.Dimensions[axis];
                var inner = tensor.Dimensions[(axis + 1)..].ToArray().Aggregate(1, (product, size) => product * size);
                sums[i] ??= new double[channels];
                for (var start = 0; start < tensor.Length; start += inner)
                {
                    sums[i][start / inner % channels] += TensorPrimitives.Sum<float>(tensor.Buffer.Span.Slice(start, inner));
                }

                counts[i] += tensor.Length / Math.Max(channels, 1);
            }
        }

        return [.. sums.Select((sum, i) => Array.ConvertAll(sum, value => value / Math.Max(counts[i], 1)))];
    }

    private static void Shift(TensorProto codes, float[] scales, double[] expected, double[] found)
    {
        var values = Array.ConvertAll(codes.Integers(), value => (int)value);
        for (var channel = 0; channel < values.Length; channel++)
        {
            var shift = Math.Round((expected[channel] - found[channel]) / scales[channel], MidpointRounding.ToEven);
            values[channel] = double.IsFinite(shift) ? (int)Math.Clamp(values[channel] + shift, int.MinValue, int.MaxValue) : values[channel];
        }

        codes.RawData = TensorValues.Make(codes.Name, codes.Dims, values).RawData;
    }
}
