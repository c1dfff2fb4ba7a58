using Nibble.Tests.Numerics.Kernels;
using Nibble.Numerics;

namespace Nibble.Tests.Numerics;

public class BitPackingTests
{
    [Theory]
    [InlineData(0, 4, 0)]
    [InlineData(1, 3, 1)]
    [InlineData(3, 3, 2)]
    [InlineData(8, 7, 7)]
    [InlineData(int.MaxValue, 8, int.MaxValue)]
    public void PackedLengthRoundsUpToBytes(int count, int bits, int expected) => Assert.Equal(expected, BitPacking.PackedLength(count, bits));

    [Theory]
    [InlineData(-1, 4)]
    [InlineData(1, 1)]
    [InlineData(1, 9)]
    public void PackedLengthRefusesImpossibleArguments(int count, int bits) =>
        Assert.Throws<ArgumentOutOfRangeException>(() => BitPacking.PackedLength(count, bits));

    [Fact]
    public void EightNibblesAreTheWordThatCompressedTensorsWrites()
    {
        // 1, -2, ... become 9, 6, ...: the first code in the lowest bits.
        var packed = new byte[4];
        BitPacking.Pack([1, -2, 7, -8, 0, 3, -1, 4], 4, packed);
        Assert.Equal(0xC7B80F69u, BitConverter.ToUInt32(packed));
    }

    [Fact]
    public void PackThenUnpackReturnsTheCodes() =>
        Gens.Codes.Sample(input =>
        {
            var packed = new byte[BitPacking.PackedLength(input.Codes.Length, input.Bits)];
            BitPacking.Pack(input.Codes, input.Bits, packed);
            var codes = new sbyte[input.Codes.Length];
            BitPacking.Unpack(packed, input.Bits, codes);
            Assert.Equal(input.Codes, codes);
        });

    [Theory]
    [InlineData(8)]
    [InlineData(-9)]
    public void PackRefusesACodeWithMoreBits(int code)
    {
        var exception = Assert.Throws<ArgumentException>(() => BitPacking.Pack([0, (sbyte)code], 4, new byte[1]));
        Assert.Contains($"Code 1 is {code}, expected -8 to 7 in 4 bits", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void WrongLengthsAreRefused()
    {
        Assert.Throws<ArgumentException>(() => BitPacking.Pack([0, 1, 2], 4, new byte[1]));
        Assert.Throws<ArgumentException>(() => BitPacking.Unpack(new byte[3], 4, new sbyte[3]));
    }
}
