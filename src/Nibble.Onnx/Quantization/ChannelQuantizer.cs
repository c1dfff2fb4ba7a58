using Nibble.Numerics;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Quantization;

/// <summary>Rounds weights to signed bytes with a scale for each output channel.</summary>
internal static class ChannelQuantizer
{
    private static readonly CodeRange Codes = new(-ChannelCodes.Largest, ChannelCodes.Largest);

    /// <summary>Quantizes a weight.</summary>
    /// <param name="tensor">The weight.</param>
    /// <param name="axis">The axis that counts output channels.</param>
    /// <param name="orders">
    /// The orders in which kernels may add the products of a channel, as indices into its values. Null if sums need no guard against saturation.
    /// </param>
    /// <param name="least">The least scale of each channel. Empty if any will do.</param>
    /// <exception cref="NibbleException">A value is not finite.</exception>
    public static ChannelCodes Quantize(TensorProto tensor, int axis, IReadOnlyList<int[]>? orders, ReadOnlySpan<float> least = default)
    {
        var values = tensor.Floats();
        var channels = (int)tensor.Dims[axis];
        var inner = tensor.Dims.Skip(axis + 1).Aggregate(1, (product, size) => product * (int)size);
        var outer = channels == 0 ? 0 : values.Length / (channels * inner);
        var codes = new sbyte[values.Length];
        var scales = new float[channels];
        var (channel, rounded) = (new float[outer * inner], new sbyte[outer * inner]);
        var (guarded, raised) = (0, 0);
        for (var c = 0; c < channels; c++)
        {
            for (var o = 0; o < outer; o++)
            {
                values.AsSpan(((o * channels) + c) * inner, inner).CopyTo(channel.AsSpan(o * inner));
            }

            var measured = Quantizer.Measure(channel);
            if (measured.NonFiniteCount > 0)
            {
                throw TensorValues.Fault(tensor, $"has {measured.NonFiniteCount} values that are not finite in channel {c}");
            }

            var magnitude = channel.Length == 0 ? 0 : Math.Max(Math.Abs(measured.Range.Min), Math.Abs(measured.Range.Max));
            scales[c] = QuantizationParameters.RoundScale(magnitude / ChannelCodes.Largest, ScalePrecision.Float32);
            if (!least.IsEmpty && least[c] > scales[c])
            {
                scales[c] = least[c];
                raised++;
            }

            Quantizer.Quantize(channel, new QuantizationParameters(scales[c], 0), Codes, rounded);
            guarded += orders is not null && SaturationGuard.Round(channel, orders, Codes, ref scales[c], rounded) ? 1 : 0;

            for (var o = 0; o < outer; o++)
            {
                rounded.AsSpan(o * inner, inner).CopyTo(codes.AsSpan(((o * channels) + c) * inner));
            }
        }

        return new ChannelCodes(codes, scales, guarded, raised);
    }
}
