using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Quantization.Equivalence;

/// <summary>Two layers, the second of which alone reads the first, perhaps through operators that commute with a positive scale per channel.</summary>
internal sealed class LayerPair
{
    /// <summary>Weights below this share of the layer's largest are noise of float arithmetic. They count as zero.</summary>
    private const double Noise = 1d / (1 << 24);

    private readonly IReadOnlyList<(NodeProto Node, int Input)> addends;
    private readonly int positions;

    /// <summary>Joins two layers.</summary>
    /// <param name="first">The layer whose output channels are divided.</param>
    /// <param name="second">The layer whose input channels are multiplied.</param>
    /// <param name="positions">The number of neighbouring inputs of the second layer that one channel of the first becomes: above 1 behind Flatten.</param>
    /// <param name="addends">The additions of a constant vector between them, and the place of the vector among their inputs.</param>
    public LayerPair(ScaledLayer first, ScaledLayer second, int positions, IReadOnlyList<(NodeProto Node, int Input)> addends)
    {
        (First, Second, this.positions, this.addends) = (first, second, positions, addends);
    }

    /// <summary>The layer whose output channels are divided.</summary>
    public ScaledLayer First { get; }

    /// <summary>The layer whose input channels are multiplied.</summary>
    public ScaledLayer Second { get; }

    /// <summary>Gives each channel the same range in both layers.</summary>
    /// <remarks>
    /// <c>s = sqrt(r1 r2) / r2</c> divides the outputs of the first layer and multiplies the inputs of the second, where r1 and r2 are the ranges of the
    /// channel's weights (Nagel et al. 2019, eq. 11). Channels without weights keep their scale.
    /// </remarks>
    /// <returns>The largest step, as the magnitude of a natural logarithm.</returns>
    public double Equalize()
    {
        var (firsts, inputs) = (First.OutputRanges(), Second.InputRanges());
        var (least1, least2) = (firsts.Max() * Noise, inputs.Max() * Noise);
        var largest = 0d;
        for (var channel = 0; channel < firsts.Length; channel++)
        {
            var (range1, range2) = (firsts[channel], inputs.AsSpan(channel * positions, positions).ToArray().Max());
            if (range1 <= least1 || range2 <= least2)
            {
                continue;
            }

            var before = First.OutputFactors[channel];
            var factor = ScaledLayer.Limit(before * Math.Sqrt(range1 / range2)) / before;
            First.DivideOutput(channel, factor);
            for (var position = 0; position < positions; position++)
            {
                Second.MultiplyInput((channel * positions) + position, factor);
            }

            largest = Math.Max(largest, Math.Abs(Math.Log(factor)));
        }

        return largest;
    }

    /// <summary>Divides the constants that are added between the layers.</summary>
    public void ApplyBetween(OnnxGraph graph)
    {
        ArgumentNullException.ThrowIfNull(graph);
        foreach (var (node, input) in addends)
        {
            ScaledLayer.Divide(graph, node, input, First.OutputFactors);
        }
    }
}
