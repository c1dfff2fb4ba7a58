using Nibble.Numerics.Kernels;
using Nibble.Numerics;

namespace Nibble.Tests.Numerics;

public class QuantizerTests
{
    private static readonly QuantizationParameters Parameters = new(0.5f, 1);
    private static readonly CodeRange Codes = new(-8, 7);

    [Fact]
    public void SpansAreQuantizedByTheActiveKernel()
    {
        float[] values = [-10, -0.5f, 0, 0.3f, float.NaN, 10];
        var codes = new sbyte[6];
        var back = new float[6];
        Quantizer.Quantize(values, Parameters, Codes, codes);
        Assert.Equal([-8, 0, 1, 2, 1, 7], codes);
        Quantizer.Dequantize(codes, Parameters, back);
        Assert.Equal([-4.5f, -0.5f, 0, 0.5f, 0, 3], back);
        Assert.Equal(QuantizationKernels.Active.Name, Quantizer.Kernel);
        Assert.Equal(new ValueStatistics(new ValueRange(-10, 10), 1), Quantizer.Measure(values));
        Assert.Equal((5.5f * 5.5f) + 49, Quantizer.SquaredError([-10, -0.5f, 0, 10], Parameters, Codes));
        Quantizer.FakeQuantize(values, Parameters, Codes, values);
        Assert.Equal(back, values);
    }

    [Fact]
    public void MeasureOfNoFiniteValueIsTheEmptyRange() =>
        Assert.Equal(new ValueStatistics(new ValueRange(float.PositiveInfinity, float.NegativeInfinity), 2),
            Quantizer.Measure([float.NaN, float.NegativeInfinity]));

    [Theory]
    [InlineData(0f, 0, -8, 7)]
    [InlineData(-1f, 0, -8, 7)]
    [InlineData(float.NaN, 0, -8, 7)]
    [InlineData(float.PositiveInfinity, 0, -8, 7)]
    [InlineData(1f, 8, -8, 7)]
    [InlineData(1f, -9, -8, 7)]
    [InlineData(1f, 0, -129, 7)]
    [InlineData(1f, 0, -8, 128)]
    [InlineData(1f, 0, 7, -8)]
    public void ImpossibleParametersAreRefused(float scale, int zeroPoint, int min, int max)
    {
        var (parameters, codes) = (new QuantizationParameters(scale, zeroPoint), new CodeRange(min, max));
        Assert.Throws<ArgumentException>(() => Quantizer.Quantize([1f], parameters, codes, new sbyte[1]));
        Assert.Throws<ArgumentException>(() => Quantizer.FakeQuantize([1f], parameters, codes, new float[1]));
        Assert.Throws<ArgumentException>(() => Quantizer.SquaredError([1f], parameters, codes));
    }

    [Fact]
    public void DequantizeRefusesImpossibleParameters()
    {
        Assert.Throws<ArgumentException>(() => Quantizer.Dequantize([1], new QuantizationParameters(0, 0), new float[1]));
        Assert.Throws<ArgumentException>(() => Quantizer.Dequantize([1], new QuantizationParameters(1, 128), new float[1]));
    }

    [Fact]
    public void WrongLengthsAreRefused()
    {
        Assert.Throws<ArgumentException>(() => Quantizer.Quantize(new float[3], Parameters, Codes, new sbyte[2]));
        Assert.Throws<ArgumentException>(() => Quantizer.Dequantize(new sbyte[3], Parameters, new float[4]));
        Assert.Throws<ArgumentException>(() => Quantizer.FakeQuantize(new float[3], Parameters, Codes, new float[2]));
    }

    [Fact]
    public void FakeQuantizeRefusesSpansThatOverlapInPart()
    {
        var values = new float[5];
        Assert.Throws<ArgumentException>(() => Quantizer.FakeQuantize(values.AsSpan(0, 4), Parameters, Codes, values.AsSpan(1, 4)));
    }
}
