using Nibble.Tests.Numerics.Kernels;
using Nibble.Files;
using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Nibble.Formats.Gguf.Blocks;

namespace Nibble.Tests.Formats.Gguf.Blocks;

public class BlockCodecTests
{
    private static readonly float[] Tied = [-2, -1, -0f, 0, 1, 2];

    public static TheoryData<GgufType> Types { get; } = [.. BlockCodecs.Types];

    [Theory]
    [MemberData(nameof(Types))]
    public void SizesAreThoseOfTheCodec(GgufType type)
    {
        var codec = BlockCodecs.For(type);
        Assert.Equal(type, codec.Type);
        var values = new float[type.BlockSize()];
        var block = new byte[type.BlockBytes()];
        codec.Quantize(values, block);
        codec.Dequantize(block, values);
        Assert.All(values, value => Assert.Equal(0, value));
    }

    /// <summary>Errors stay below half a step plus what rounding the parameters to binary16 adds.</summary>
    [Theory]
    [InlineData(GgufType.Q4_0, 8)]
    [InlineData(GgufType.Q4_1, 15)]
    [InlineData(GgufType.Q5_0, 16)]
    [InlineData(GgufType.Q5_1, 31)]
    [InlineData(GgufType.Q8_0, 127)]
    public void ValuesComeBackWithinAStep(GgufType type, int steps) => Gens.Finite.Array[96].Sample(values =>
    {
        var codec = BlockCodecs.For(type);
        var blocks = new byte[values.Length / 32 * type.BlockBytes()];
        codec.Quantize(values, blocks);
        var restored = new float[values.Length];
        codec.Dequantize(blocks, restored);
        for (var block = 0; block < 3; block++)
        {
            var part = values.AsSpan(32 * block, 32).ToArray();
            var affine = type is GgufType.Q4_1 or GgufType.Q5_1;
            var range = affine ? part.Max() - part.Min() : part.Max(MathF.Abs);

            // Without a code for the other end, symmetric blocks of 4 and 5 bits may miss it by a whole step. Binary16 keeps 11 bits of scale and minimum.
            var allowed = (range / steps * (type is GgufType.Q4_0 or GgufType.Q5_0 ? 1 : 0.5f)) + ((range + part.Max(MathF.Abs)) / 1000);
            Assert.All(Enumerable.Range(0, 32), i => Assert.InRange(MathF.Abs(part[i] - restored[(32 * block) + i]), 0, allowed));
        }
    }, iter: 1000);

    [Theory]
    [InlineData(GgufType.Q4_0)]
    [InlineData(GgufType.Q4_1)]
    [InlineData(GgufType.Q5_0)]
    [InlineData(GgufType.Q5_1)]
    [InlineData(GgufType.Q8_0)]
    public void VectorsWriteWhatTheSpecificationWrites(GgufType type)
    {
        Gens.Any.Where(float.IsFinite).Array[96].Sample(Compare, iter: 3000);

        // Equal magnitudes of both signs and zeros of both: which of them comes first decides.
        Gen.Int[0, 5].Select(i => Tied[i]).Array[96].Sample(Compare, iter: 1000);

        void Compare(float[] values)
        {
            var codec = BlockCodecs.For(type);
            var (expected, found) = (new byte[3 * type.BlockBytes()], new byte[3 * type.BlockBytes()]);
            switch (codec)
            {
                case SignedCodec signed: signed.QuantizeScalar(values, expected); break;
                case AffineCodec affine: affine.QuantizeScalar(values, expected); break;
                default: ByteCodec.QuantizeScalar(values, expected); break;
            }

            codec.Quantize(values, found);
            Assert.Equal(expected, found);
        }
    }

    [Fact]
    public void HalvesAreRoundedAsTheFrameworkRoundsThem()
    {
        Span<byte> bytes = stackalloc byte[2];

        // Every half, and what lies just beside the middle between it and the next.
        for (var bits = 0; bits <= ushort.MaxValue; bits++)
        {
            var half = (float)BitConverter.UInt16BitsToHalf((ushort)bits);
            var middle = (half + (float)BitConverter.UInt16BitsToHalf((ushort)(bits + 1))) / 2;
            foreach (var value in (ReadOnlySpan<float>)[half, MathF.BitDecrement(middle), middle, MathF.BitIncrement(middle)])
            {
                Rounding.WriteHalf(bytes, value);
                Assert.Equal(BitConverter.HalfToUInt16Bits((Half)value), BinaryPrimitives.ReadUInt16LittleEndian(bytes));
            }
        }
    }

    [Fact]
    public void EveryHalfIsWidened()
    {
        var halves = Enumerable.Range(0, 1 << 16).Select(bits => (ushort)bits).ToArray();
        var values = new float[halves.Length];
        if (Avx2Blocks.IsSupported)
        {
            Assert.Equal(halves.Length, Avx2Blocks.Widen(halves, values));
        }
        else
        {
            BlockCodecs.For(GgufType.F16).Dequantize(MemoryMarshal.AsBytes(halves.AsSpan()), values);
        }

        Assert.All(halves, bits => Assert.Equal((float)BitConverter.UInt16BitsToHalf(bits), values[bits]));
    }

    [Theory]
    [InlineData(4)]
    [InlineData(5)]
    public void PackedCodesComeBack(int bits) => Gen.Byte[0, (byte)((1 << bits) - 1)].Array[32].Sample(codes =>
    {
        var packed = new byte[bits == 5 ? 20 : 16];
        BlockCodes.Pack(codes, bits, packed);
        var restored = new byte[32];
        BlockCodes.Unpack(packed, bits, restored);
        Assert.Equal(codes, restored);
    });

    [Fact]
    public void HandmadeBlocksHaveTheFormatsValues()
    {
        var values = new float[32];

        // Q4_0: scale 0.5, byte 3 holds code 15 for value 3 and code 0 for value 19, all others 8.
        byte[] q4 = [0x00, 0x38, .. Enumerable.Repeat((byte)0x88, 16)];
        q4[5] = 0x0F;
        BlockCodecs.For(GgufType.Q4_0).Dequantize(q4, values);
        Assert.Equal((0f, 3.5f, -4f), (values[0], values[3], values[19]));

        // Q5_1: scale 1, minimum -2, the fifth bit of value 31 alone.
        byte[] q5 = [0x00, 0x3C, 0x00, 0xC0, 0, 0, 0, 0x80, .. Enumerable.Repeat((byte)0x21, 16)];
        BlockCodecs.For(GgufType.Q5_1).Dequantize(q5, values);
        Assert.Equal((-1f, 0f, 16f), (values[0], values[16], values[31]));

        byte[] q8 = [0x00, 0xBC, 0x80, 0x7F, .. new byte[30]];
        BlockCodecs.For(GgufType.Q8_0).Dequantize(q8, values);
        Assert.Equal((128f, -127f, 0f), (values[0], values[1], values[2]));
    }
}
