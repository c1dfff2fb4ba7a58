using Nibble.Onnx.Graphs;
using Nibble.Onnx.Quantization;

namespace Nibble.Onnx.Tests.Quantization;

public sealed class ChannelQuantizerTests
{
    [Fact]
    public void EachChannelHasAScaleOnItsAxis()
    {
        // Columns are channels: the largest magnitudes are 2 and 1.27.
        var result = ChannelQuantizer.Quantize(TensorValues.Make("w", [2, 2], new float[] { 2, -1.27f, -1, 0.64f }), axis: 1, orders: null);

        Assert.Equal([2 / 127f, 1.27f / 127f], result.Scales);
        Assert.Equal([127, -127, -64, 64], result.Codes.Select(code => (int)code));
    }

    [Fact]
    public void ScalesCanBeRaised()
    {
        var weight = TensorValues.Make("w", [2, 2], new float[] { 2, -1, 1.27f, 0.64f });
        var result = ChannelQuantizer.Quantize(weight, axis: 0, orders: null, least: [0, 0.1f]);

        Assert.Equal([2 / 127f, 0.1f], result.Scales);
        Assert.Equal([127, -64, 13, 6], result.Codes.Select(code => (int)code));
        Assert.Equal(1, result.Raised);
    }

    /// <summary>Same-signed neighbours add up to at most 128, and no other rounding with the same scale is closer by more than that costs.</summary>
    [Fact]
    public void GuardedChannelsDoNotSaturateAndLoseLittle() => Gen.Int[0, 10_000].Sample(
        seed =>
        {
            var values = TestGraph.Numbers(seed, 64);
            var weight = TensorValues.Make("w", [1, 64], values);
            var free = ChannelQuantizer.Quantize(weight, axis: 0, orders: null);
            var guarded = ChannelQuantizer.Quantize(weight, axis: 0, orders: []);
            Assert.True(SaturationGuard.IsSafe(guarded.Codes));
            Assert.Equal(SaturationGuard.IsSafe(free.Codes) ? 0 : 1, guarded.Guarded);

            // Halving all codes is always safe; its error is four times that of rounding, in steps of the free scale at most 1 / 3.
            Assert.InRange(Error(values, guarded), 0, Math.Max(Error(values, free), 64 * free.Scales[0] * free.Scales[0] / 3 * 1.5));
        },
        iter: 200);

    private static double Error(float[] values, ChannelCodes codes) =>
        values.Select((value, i) => value - (codes.Scales[0] * codes.Codes[i])).Sum(difference => (double)difference * difference);
}
