using Nibble.Files;

namespace Nibble.Tests.Files;

public class ElementTypesTests
{
    [Theory]
    [InlineData(1f, 0x3F80)]
    [InlineData(-2f, 0xC000)]
    [InlineData(1.00390625f, 0x3F80)] // 1 + 2^-8, half way: to even, down
    [InlineData(1.01171875f, 0x3F82)] // 1 + 3 * 2^-8, half way: to even, up
    [InlineData(1.0039064f, 0x3F81)] // just above half way
    [InlineData(float.MaxValue, 0x7F80)]
    [InlineData(float.NegativeInfinity, 0xFF80)]
    [InlineData(1e-45f, 0)]
    public void BFloat16RoundsHalfToEven(float value, int expected)
    {
        Assert.Equal(expected, BitConverter.ToUInt16(ElementType.BF16.ToBytes([value])));
    }

    [Fact]
    public void BFloat16KeepsNaN()
    {
        var payloadInLowerHalf = BitConverter.UInt32BitsToSingle(0x7F80_0001);
        Assert.True(float.IsNaN(ElementType.BF16.Round(payloadInLowerHalf)));
    }

    [Theory]
    [InlineData(ElementType.F32)]
    [InlineData(ElementType.F16)]
    [InlineData(ElementType.BF16)]
    public void RoundIsWhatIsReadBack(ElementType type) => Gen.Single.Array[0, 20].Sample(values =>
    {
        var read = new float[values.Length];
        type.ToSingles(type.ToBytes(values), read);
        Assert.Equal(Array.ConvertAll(values, value => type.Round(value)), read);
        Assert.Equal(read, Array.ConvertAll(read, value => type.Round(value)));
    });

    [Fact]
    public void EveryHalfIsReadExactly()
    {
        var halves = Enumerable.Range(0, 1 << 16).Select(bits => BitConverter.UInt16BitsToHalf((ushort)bits)).ToArray();
        var values = new float[halves.Length];
        ElementType.F16.ToSingles(System.Runtime.InteropServices.MemoryMarshal.AsBytes(halves.AsSpan()), values);
        Assert.Equal(Array.ConvertAll(halves, half => (float)half), values);
    }

    [Fact]
    public void IntegersAreRefused()
    {
        Assert.Throws<ArgumentException>(() => ElementType.I8.ToBytes([1f]));
        Assert.Throws<ArgumentException>(() => ElementType.I8.ToSingles([1], new float[1]));
        Assert.Throws<ArgumentException>(() => ElementType.I8.Round(1));
        Assert.Throws<ArgumentException>(() => ElementType.F32.ToSingles([1, 2, 3], new float[1]));
    }
}
