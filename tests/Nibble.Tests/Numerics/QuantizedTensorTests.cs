using Nibble.Numerics;

namespace Nibble.Tests.Numerics;

public class QuantizedTensorTests
{
    [Fact]
    public void DequantizeReadsEachGroupWithItsParameters()
    {
        var scheme = new QuantizationScheme(4, symmetric: false, Granularity.Group(2));
        var tensor = new QuantizedTensor(2, 3, scheme, [1, 2, 3, 4, 5, 6], [1, 10, 100, 1000], [1, 0, -1, 6]);
        Assert.Equal([0, 1, 30, 500, 600, 0], tensor.Dequantize());
        Assert.Throws<ArgumentException>(() => tensor.Dequantize(new float[5]));
    }

    [Fact]
    public void DequantizeSharesTheParametersOfATensor()
    {
        var tensor = new QuantizedTensor(2, 2, new QuantizationScheme(8, symmetric: true, Granularity.Tensor), [1, -2, 3, -128], [0.5f], []);
        Assert.Equal([0.5f, -1, 1.5f, -64], tensor.Dequantize());
    }

    [Theory]
    [InlineData(4, true, ScalePrecision.Float16, (3 * 8) + (2 * 6))] // 36 bits take two words a row
    [InlineData(4, true, ScalePrecision.Float32, (3 * 8) + (4 * 6))]
    [InlineData(4, false, ScalePrecision.Float16, (3 * 8) + (2 * 6) + (2 * 4))] // 3 zero points down each of 2 columns
    [InlineData(3, true, ScalePrecision.Float16, (3 * 4) + (2 * 6))] // 27 bits a row
    [InlineData(8, true, ScalePrecision.Float16, (3 * 12) + (2 * 6))]
    public void StoredBytesCountsWordsScalesAndZeroPoints(int bits, bool symmetric, ScalePrecision precision, long expected)
    {
        var scheme = new QuantizationScheme(bits, symmetric, Granularity.Group(5)) { ScalePrecision = precision };
        Assert.Equal(expected, new QuantizedTensor(3, 9, scheme, new sbyte[27], new float[6], new sbyte[symmetric ? 0 : 6]).StoredBytes);
    }

    [Fact]
    public void StoredBytesOfATensorHoldsOneWordOfZeroPoints()
    {
        var scheme = new QuantizationScheme(8, symmetric: false, Granularity.Tensor);
        Assert.Equal((2 * 4) + 4 + 4, new QuantizedTensor(2, 3, scheme, new sbyte[6], new float[1], new sbyte[1]).StoredBytes);
    }

    [Fact]
    public void AGroupIndexSaysWhichParametersAColumnHas()
    {
        var scheme = new QuantizationScheme(4, symmetric: false, Granularity.Group(2));
        var tensor = new QuantizedTensor(2, 3, scheme, [1, 2, 3, 4, 5, 6], [1, 10, 100, 1000], [1, 0, -1, 6], [0, 1, 0]);
        Assert.Equal([0, 20, 2, 500, -1000, 700], tensor.Dequantize());
        Assert.Equal([0, 1, 0], Enumerable.Range(0, 3).Select(tensor.GroupOf));
        Assert.Equal(new QuantizedTensor(2, 3, scheme, new sbyte[6], new float[4], new sbyte[4]).StoredBytes + (3 * 4), tensor.StoredBytes);
    }

    [Fact]
    public void AGroupIndexOfNeighboursChangesNothing()
    {
        var scheme = new QuantizationScheme(8, symmetric: true, Granularity.Group(3));
        sbyte[] codes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
        float[] scales = [0.5f, 2, 3, 0.1f];
        Assert.Equal(new QuantizedTensor(2, 5, scheme, codes, scales, []).Dequantize(),
            new QuantizedTensor(2, 5, scheme, codes, scales, [], [0, 0, 0, 1, 1]).Dequantize());
    }

    [Fact]
    public void AGroupIndexOfTheWrongLengthOrGranularityIsRefused()
    {
        var grouped = new QuantizationScheme(8, symmetric: true, Granularity.Group(2));
        Assert.Throws<ArgumentException>(() => new QuantizedTensor(1, 3, grouped, new sbyte[3], new float[2], [], [0, 0]));
        Assert.Throws<ArgumentException>(() => new QuantizedTensor(1, 3, grouped, new sbyte[3], new float[2], [], [1, 1, 0]));
        Assert.Throws<ArgumentException>(
            () => new QuantizedTensor(1, 3, new QuantizationScheme(8, true, Granularity.Channel), new sbyte[3], new float[1], [], [0, 0, 0]));
    }
}
