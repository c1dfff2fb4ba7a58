using Nibble.Tests.Files;
using Nibble.Files;
using Nibble.Formats.Gguf;
using Nibble.Formats.Gguf.Blocks;
using Nibble.Numerics;

namespace Nibble.Tests.Formats.Gguf;

public class GgufCodesTests
{
    private const int Rows = 3;
    private const int Columns = 512;

    /// <summary>Whatever finite values are in blocks, codes stand for the same.</summary>
    [Theory]
    [InlineData(GgufType.Q4_0, 5)]
    [InlineData(GgufType.Q5_0, 6)]
    [InlineData(GgufType.Q8_0, 8)]
    [InlineData(GgufType.TQ1_0, 2)]
    [InlineData(GgufType.TQ2_0, 2)]
    public void CodesStandForTheValuesOfTheBlocksAndAreWrittenAgainAsTheyWere(GgufType type, int bits) =>
        Gen.Float[-10, 10].Array[Rows * Columns].Sample(values =>
    {
        var blocks = Quantize(type, values);
        var codes = Read(type, blocks)!;
        Assert.Equal((bits, true), (codes.Scheme.Bits, codes.Scheme.Symmetric));
        var expected = new float[values.Length];
        BlockCodecs.For(type).Dequantize(blocks, expected);
        Assert.Equal(expected, codes.Dequantize());

        var written = ExactBlocks.Create(codes, type)!;
        var rows = new byte[blocks.Length];
        for (var row = 0; row < Rows; row++)
        {
            written.WriteRow(row, rows.AsSpan(row * written.RowBytes, written.RowBytes));
        }

        Assert.Equal(blocks, rows);
    }, iter: 50);

    [Theory]
    [InlineData(GgufType.Q4_1, 4)]
    [InlineData(GgufType.Q5_1, 5)]
    public void MinimumsThatAreMultiplesOfTheirScalesBecomeZeroPoints(GgufType type, int bits)
    {
        var random = new Random(1);
        var scheme = new QuantizationScheme(bits, symmetric: false, Granularity.Group(32)) { ScalePrecision = ScalePrecision.Float16 };
        var groups = Rows * Columns / 32;
        var tensor = new QuantizedTensor(
            Rows,
            Columns,
            scheme,
            [.. Enumerable.Range(0, Rows * Columns).Select(_ => (sbyte)random.Next(scheme.Codes.Min, scheme.Codes.Max + 1))],
            [.. Enumerable.Range(0, groups).Select(_ => (float)(Half)(random.NextSingle() + 0.001f))],
            [.. Enumerable.Range(0, groups).Select(_ => (sbyte)random.Next(scheme.Codes.Min, scheme.Codes.Max + 1))]);
        var written = ExactBlocks.Create(tensor, type)!;
        var blocks = new byte[Rows * written.RowBytes];
        for (var row = 0; row < Rows; row++)
        {
            written.WriteRow(row, blocks.AsSpan(row * written.RowBytes, written.RowBytes));
        }

        var read = Read(type, blocks)!;
        Assert.Equal(tensor.Codes, read.Codes);
        Assert.Equal(tensor.Scales, read.Scales);
        Assert.Equal(tensor.ZeroPoints, read.ZeroPoints);
        Assert.Equal(scheme, read.Scheme);

        // Half a step aside, no zero point says it.
        Rounding.WriteHalf(blocks.AsSpan(2), -0.5f * tensor.Scales[0]);
        Assert.Null(Read(type, blocks));
    }

    [Fact]
    public void RowsGoWhereTheyBelong()
    {
        var values = Enumerable.Range(0, Rows * Columns).Select(i => (float)(i / Columns) + 1).ToArray();
        var codes = Read(GgufType.Q8_0, Quantize(GgufType.Q8_0, values), row => Rows - 1 - row)!;
        Assert.Equal([.. values.Reverse()], codes.Dequantize().Select(value => MathF.Round(value)));
    }

    [Fact]
    public void BlocksOfZerosAreZeros()
    {
        var codes = Read(GgufType.Q4_1, new byte[Rows * Columns / 32 * GgufType.Q4_1.BlockBytes()])!;
        Assert.All(codes.Dequantize(), value => Assert.Equal(0, value));
        Assert.All(codes.Scales, scale => Assert.True(scale > 0));
    }

    [Fact]
    public void TypesWithoutSharedScalesOfOneLevelHaveNoCodes() => Assert.Null(Read(GgufType.Q4_K, new byte[Rows * Columns / 256 * 144]));

    /// <summary>Ternary codes have a fourth number, which no ternary scheme has.</summary>
    [Fact]
    public void ACodeThatNoSchemeHasMakesNoCodes()
    {
        var blocks = new byte[Rows * Columns / 256 * GgufType.TQ2_0.BlockBytes()];
        blocks[0] = 3;
        Rounding.WriteHalf(blocks.AsSpan(64), 1);
        Assert.Null(Read(GgufType.TQ2_0, blocks));
    }

    [Fact]
    public void AScaleThatIsNoNumberIsRefusedWithItsPlace()
    {
        var blocks = Quantize(GgufType.Q4_0, new float[Rows * Columns]);
        Rounding.WriteHalf(blocks.AsSpan(18), float.NaN);
        Assert.Contains("block 1 of row 0 of tensor w has the scale NaN", Assert.Throws<GgufException>(() => Read(GgufType.Q4_0, blocks)).Message,
            StringComparison.Ordinal);
    }

    /// <summary>Any bytes are read, refused as damaged, or said to have no codes; what is read is consistent.</summary>
    [Fact]
    public void AnyBytesAreCodesOrRefused() => Gen.Select(
        Gen.OneOf(GgufType.Q4_0, GgufType.Q4_1, GgufType.Q5_0, GgufType.Q5_1, GgufType.Q8_0, GgufType.TQ1_0, GgufType.TQ2_0),
        Gen.Int[0, 1 << 30]).Sample((type, seed) =>
    {
        var blocks = new byte[Rows * Columns / type.BlockSize() * type.BlockBytes()];
        new Random(seed).NextBytes(blocks);
        try
        {
            if (Read(type, blocks) is { } codes)
            {
                var expected = new float[Rows * Columns];
                BlockCodecs.For(type).Dequantize(blocks, expected);
                Assert.Equal(expected.Select(value => value + 0f), codes.Dequantize().Select(value => value + 0f));
            }
        }
        catch (GgufException)
        {
        }
    }, iter: 2000);

    private static byte[] Quantize(GgufType type, float[] values)
    {
        var blocks = new byte[values.Length / type.BlockSize() * type.BlockBytes()];
        BlockCodecs.For(type).Quantize(values, blocks);
        return blocks;
    }

    private static QuantizedTensor? Read(GgufType type, byte[] blocks, Func<long, long>? rowOf = null)
    {
        using var folder = new TemporaryFolder();
        GgufWriter.Write(folder.File("one.gguf"), [], [new GgufTensor("w", type, [Columns, Rows], stream => stream.Write(blocks))]);
        using var file = GgufFile.Open(folder.File("one.gguf"));
        return GgufCodes.TryRead(file, file.FindTensor("w")!, rowOf ?? (row => row));
    }
}
