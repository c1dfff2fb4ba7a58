using Nibble.Numerics;

namespace Nibble.Tests.Numerics;

public class QuantizationParametersTests
{
    [Theory]
    [InlineData(4, true, -3f, 1.5f, 0.4f, 0)] // 3 / 7.5
    [InlineData(8, true, -1f, 255f, 2f, 0)] // 255 / 127.5
    [InlineData(4, false, -1f, 2f, 0.2f, -3)] // 3 / 15, -8 + 5
    [InlineData(8, false, 0f, 255f, 1f, -128)]
    [InlineData(8, false, 51f, 255f, 1f, -128)] // widened to hold zero
    [InlineData(8, false, -255f, -51f, 1f, 127)]
    [InlineData(4, false, 0f, 0f, 1f, -8)]
    [InlineData(4, true, 0f, 0f, 1f, 0)]
    public void FromRangeSpreadsTheCodesOverTheRange(int bits, bool symmetric, float min, float max, float scale, int zeroPoint) =>
        Assert.Equal(
            new QuantizationParameters(scale, zeroPoint),
            QuantizationParameters.FromRange(new ValueRange(min, max), new QuantizationScheme(bits, symmetric, Granularity.Tensor)));

    [Theory]
    [InlineData(1f, 0f)]
    [InlineData(float.NaN, 0f)]
    [InlineData(0f, float.PositiveInfinity)]
    public void FromRangeRefusesWhatIsNoRange(float min, float max) =>
        Assert.Throws<ArgumentException>(() => QuantizationParameters.FromRange(new ValueRange(min, max), new QuantizationScheme(8, true, Granularity.Tensor)));

    [Fact]
    public void ScalesAreRoundedToThePrecisionTheyAreStoredIn()
    {
        var scheme = new QuantizationScheme(4, symmetric: true, Granularity.Tensor) { ScalePrecision = ScalePrecision.Float16 };
        var scale = QuantizationParameters.FromRange(new ValueRange(-1, 1), scheme).Scale;
        Assert.Equal((float)(Half)(1 / 7.5), scale);
        Assert.Equal(QuantizationParameters.MinScale(ScalePrecision.Float16), QuantizationParameters.FromRange(new ValueRange(0, 1e-20f), scheme).Scale);
        Assert.Throws<OverflowException>(() => QuantizationParameters.FromRange(new ValueRange(0, 1e10f), scheme));
    }
}
