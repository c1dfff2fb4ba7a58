using Nibble.Onnx.Quantization;

namespace Nibble.Onnx.Tests.Quantization;

public sealed class ModeChoiceTests
{
    [Theory]
    [InlineData(0.1, 1.8, 1.7, 1.0, OnnxMode.Static)] // the fastest
    [InlineData(0.1, 1.8, 1.75, 1.0, OnnxMode.Dynamic)] // as fast, and smaller
    [InlineData(0.01, 1.8, 1.7, 1.0, OnnxMode.Weights)] // the others lose too much
    [InlineData(0.001, 1.8, 1.7, 1.0, OnnxMode.Weights)] // all lose too much, and this the least
    [InlineData(0.1, 0.7, 0.8, 0.97, OnnxMode.Weights)] // the others are slower than float
    [InlineData(0.1, 0.7, 0.8, 0.6, OnnxMode.Dynamic)] // all are slower
    public void TheFastestWithinTheLimitIsChosen(double limit, double fixedScales, double measured, double weights, OnnxMode expected) => Assert.Equal(
        expected,
        ModeChoice.Best(
            [
                new ModeTrial(OnnxMode.Static, 0.03, fixedScales, 300), new ModeTrial(OnnxMode.Dynamic, 0.02, measured, 290),
                new ModeTrial(OnnxMode.Weights, 0.005, weights, 250),
            ],
            limit).Mode);

    /// <summary>As with a detector whose convolutions are small.</summary>
    [Fact]
    public void NothingIsQuantizedRatherThanMadeSlower()
    {
        ModeTrial[] trials =
        [
            new(OnnxMode.Static, 0.08, 0.83, 290), new(OnnxMode.Dynamic, 0, 1, 319) { IsIdle = true }, new(OnnxMode.Weights, 0.16, 1, 154),
        ];

        Assert.Equal(OnnxMode.Dynamic, ModeChoice.Best(trials, 0.15).Mode);
        Assert.Equal(OnnxMode.Weights, ModeChoice.Best(trials, 0.2).Mode);
    }
}
