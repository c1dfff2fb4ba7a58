using Nibble.Numerics;
using Nibble.Onnx.Layers;

namespace Nibble.Onnx.Tests.Layers;

public sealed class UnsignedWeightTests
{
    [Fact]
    public void FourBitsStandLowNibbleFirstAndAreFilledUpWithZeroPoints()
    {
        // 18 columns are a block of 16 and one of 2.
        sbyte[] codes = [-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 1, -1];
        var weight = Of(new QuantizedTensor(1, 18, new QuantizationScheme(4, false, Granularity.Group(16)), codes, [0.5f, 2], [3, -2]));
        Assert.Equal(16, weight.Block);
        Assert.Equal("1032547698BADCFE" + "7966666666666666", Convert.ToHexString(weight.PackBlocks(16)));
        Assert.Equal("6B", Convert.ToHexString(weight.PackZeroPoints(16)));
        Assert.Equal([0.5f, 2], System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(weight.BlockScales(16)));
    }

    [Fact]
    public void TwoBitsStandFourInAByte()
    {
        sbyte[] codes = [-2, -1, 0, 1, 1, 0, -1, -2, 0, 0, 0, 0, 1, 1, 1, 1];
        var weight = Of(new QuantizedTensor(1, 16, new QuantizationScheme(2, true, Granularity.Channel), codes, [1], []));
        Assert.Equal("E41BAAFF", Convert.ToHexString(weight.PackBlocks(16)));
    }

    [Fact]
    public void BytesAreTransposedAndMovedBy128()
    {
        var weight = Of(new QuantizedTensor(2, 3, new QuantizationScheme(8, false, Granularity.Channel), [-128, 0, 1, 2, 3, 127], [1, 2], [-128, 127]));
        Assert.Equal([0, 130, 128, 131, 129, 255], weight.BytesTransposed());
        Assert.Equal([0, 255], weight.ZeroPointsTransposed());
    }

    [Fact]
    public void StretchedCodesAreOddMultiplesOfHalfTheScale()
    {
        var weight = Of(new QuantizedTensor(1, 4, QuantizationScheme.CreateStretched(2, Granularity.Channel), [-2, -1, 0, 1], [3], []));
        Assert.Equal(4, weight.Bits);
        Assert.Equal("75B9888888888888", Convert.ToHexString(weight.PackBlocks(16)));
        Assert.Equal([1.5f], System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(weight.BlockScales(16)));
    }

    [Theory]
    [InlineData(16, 16)]
    [InlineData(32, 32)]
    [InlineData(48, 16)]
    [InlineData(160, 32)]
    [InlineData(512, 256)]
    [InlineData(8, null)]
    [InlineData(100, null)]
    public void BlockIsThePowerOfTwoThatDividesAGroup(int group, int? block)
    {
        var weight = Of(new QuantizedTensor(
            1, 1024, new QuantizationScheme(4, true, Granularity.Group(group)), new sbyte[1024], new float[(1024 + group - 1) / group], []));
        Assert.Equal(block, weight.Block);
    }

    [Theory]
    [InlineData(3, 16)]
    [InlineData(100, 128)]
    [InlineData(5000, 128)]
    public void BlockOfWholeRowsIsNoLongerThanNeeded(int columns, int block) =>
        Assert.Equal(block, Of(new QuantizedTensor(1, columns, new QuantizationScheme(4, true, Granularity.Channel), new sbyte[columns], [1], [])).Block);

    [Theory]
    [InlineData(2, 2)]
    [InlineData(3, 4)]
    [InlineData(4, 4)]
    [InlineData(5, 8)]
    [InlineData(8, 8)]
    public void CodesAreStoredInTheNarrowestWidthThatHoldsThem(int bits, int stored) =>
        Assert.Equal(stored, Of(new QuantizedTensor(1, 1, new QuantizationScheme(bits, true, Granularity.Channel), [0], [1], [])).Bits);

    [Fact]
    public void ScatteredGroupsBecomeNeighbours()
    {
        var weight = Of(new QuantizedTensor(1, 4, new QuantizationScheme(8, true, Granularity.Group(2)), [1, 2, 3, 4], [1, 2], [], [1, 0, 1, 0]));
        Assert.Equal([1, 3, 0, 2], weight.Columns!);
        Assert.Equal([130, 132, 129, 131], weight.BytesTransposed());
    }

    private static UnsignedWeight Of(QuantizedTensor weight) => UnsignedWeight.Of(weight)!;
}
