using Nibble.Files;
using Nibble.Formats.Gguf;
using Nibble.Formats.Gguf.Blocks;
using Nibble.Numerics;

namespace Nibble.Tests.Formats.Gguf;

public class ExactBlocksTests
{
    /// <summary>A scheme, its group, and the type that is chosen for it where no other is asked for.</summary>
    public static TheoryData<int, bool, int, GgufType> Choices => new()
    {
        { 2, true, 32, GgufType.Q4_0 },
        { 3, true, 32, GgufType.Q4_0 },
        { 4, true, 32, GgufType.Q4_0 },
        { 4, true, 64, GgufType.Q4_0 },
        { 5, true, 32, GgufType.Q5_0 },
        { 6, true, 32, GgufType.Q8_0 },
        { 8, true, 32, GgufType.Q8_0 },
        { 2, false, 32, GgufType.Q4_0 },
        { 3, false, 32, GgufType.Q4_0 },
        { 4, false, 32, GgufType.Q4_1 },
        { 5, false, 32, GgufType.Q5_1 },
        { 6, false, 32, GgufType.Q8_0 },
        { 7, false, 32, GgufType.Q8_0 },
    };

    [Theory]
    [MemberData(nameof(Choices))]
    public void TheSmallestTypeHoldsEveryCode(int bits, bool symmetric, int group, GgufType expected) => Gen.Int[0, 1000].Sample(seed =>
    {
        var scheme = new QuantizationScheme(bits, symmetric, Granularity.Group(group)) { ScalePrecision = ScalePrecision.Float16 };
        var tensor = Random(3, 128, scheme, seed);
        var blocks = ExactBlocks.Find(tensor)!;
        Assert.Equal(expected, blocks.Type);
        Compare(tensor, blocks);
        if (blocks.Type is not (GgufType.Q4_1 or GgufType.Q5_1))
        {
            Assert.Equal((0, 0d), (blocks.RoundedMinimums, blocks.LargestShift));
        }
    }, iter: 20);

    [Fact]
    public void AsymmetricCodesAreExactInTheNextWiderSymmetricType()
    {
        var scheme = new QuantizationScheme(4, symmetric: false, Granularity.Group(32)) { ScalePrecision = ScalePrecision.Float16 };
        Compare(Random(2, 96, scheme, 1), ExactBlocks.Create(Random(2, 96, scheme, 1), GgufType.Q5_0)!);
        Assert.Null(ExactBlocks.Create(Random(2, 96, scheme, 1), GgufType.Q4_0));
    }

    [Theory]
    [InlineData(2, GgufType.Q4_0)]
    [InlineData(3, GgufType.Q4_0)]
    [InlineData(4, GgufType.Q5_0)]
    [InlineData(7, GgufType.Q8_0)]
    public void StretchedGridsAreWholeInHalfSteps(int bits, GgufType expected)
    {
        var tensor = Random(2, 64, QuantizationScheme.CreateStretched(bits, Granularity.Group(32)) with { ScalePrecision = ScalePrecision.Float16 }, bits);
        var blocks = ExactBlocks.Find(tensor)!;
        Assert.Equal(expected, blocks.Type);
        Compare(tensor, blocks);
    }

    [Theory]
    [InlineData(256, GgufType.TQ2_0)]
    [InlineData(512, GgufType.TQ2_0)]
    [InlineData(32, GgufType.Q4_0)]
    public void TernaryCodesNeedLongGroupsForTheirOwnType(int group, GgufType expected)
    {
        var tensor = Random(2, 512, QuantizationScheme.CreateTernary(Granularity.Group(group)) with { ScalePrecision = ScalePrecision.Float16 }, 3);
        var blocks = ExactBlocks.Find(tensor)!;
        Assert.Equal(expected, blocks.Type);
        Compare(tensor, blocks);
        if (group >= 256)
        {
            Compare(tensor, ExactBlocks.Create(tensor, GgufType.TQ1_0)!);
        }
    }

    [Fact]
    public void ScalesPerChannelAndTensorAreRepeated()
    {
        foreach (var granularity in new[] { Granularity.Channel, Granularity.Tensor })
        {
            var tensor = Random(3, 96, new QuantizationScheme(8, symmetric: true, granularity) { ScalePrecision = ScalePrecision.Float16 }, 5);
            Compare(tensor, ExactBlocks.Create(tensor, GgufType.Q8_0)!);
        }
    }

    [Fact]
    public void WhatNoBlockHoldsIsNotWritten()
    {
        var half = ScalePrecision.Float16;
        Assert.Null(ExactBlocks.Find(Random(2, 96, new QuantizationScheme(4, true, Granularity.Group(16)) { ScalePrecision = half }, 1)));
        Assert.Null(ExactBlocks.Find(Random(2, 96, new QuantizationScheme(4, true, Granularity.Group(48)) { ScalePrecision = half }, 1)));
        Assert.Null(ExactBlocks.Find(Random(2, 172, new QuantizationScheme(4, true, Granularity.Group(32)) { ScalePrecision = half }, 1)));
        Assert.Null(ExactBlocks.Find(Random(2, 96, new QuantizationScheme(4, true, Granularity.Group(32)), 1)));
        Assert.Null(ExactBlocks.Find(Random(2, 96, new QuantizationScheme(8, false, Granularity.Group(32)) { ScalePrecision = half }, 1)));

        var scheme = new QuantizationScheme(4, true, Granularity.Group(32)) { ScalePrecision = half };
        var plain = Random(2, 64, scheme, 1);
        var index = Enumerable.Range(0, 64).Select(column => column % 2).ToArray();
        Assert.Null(ExactBlocks.Find(new QuantizedTensor(2, 64, scheme, plain.Codes, plain.Scales, [], index)));
    }

    /// <summary>The values of the blocks are those of the codes; behind rounded minimums, as near as is said.</summary>
    private static void Compare(QuantizedTensor tensor, ExactBlocks blocks)
    {
        var expected = tensor.Dequantize();
        var values = new float[tensor.Columns];
        var row = new byte[blocks.RowBytes];
        for (var r = 0; r < tensor.Rows; r++)
        {
            blocks.WriteRow(r, row);
            BlockCodecs.For(blocks.Type).Dequantize(row, values);
            for (var column = 0; column < tensor.Columns; column++)
            {
                var wanted = expected[(r * tensor.Columns) + column];
                if (blocks.RoundedMinimums == 0 && blocks.Type is not (GgufType.Q4_1 or GgufType.Q5_1))
                {
                    Assert.Equal(wanted, values[column]);
                }
                else
                {
                    var step = tensor.Parameters(r, tensor.GroupOf(column)).Scale;
                    Assert.InRange(Math.Abs(wanted - values[column]) / step, 0, blocks.LargestShift + 1e-5);
                }
            }
        }

        Assert.InRange(blocks.LargestShift, 0, 0.016);
    }

    private static QuantizedTensor Random(int rows, int columns, QuantizationScheme scheme, int seed)
    {
        var random = new Random(seed);
        var groups = QuantizedTensor.GroupCount(rows, columns, scheme.Granularity);
        var (min, max) = (scheme.Codes.Min, scheme.Codes.Max);
        var codes = new sbyte[rows * columns];
        for (var i = 0; i < codes.Length; i++)
        {
            // Both ends of the range in every group of 16.
            codes[i] = (sbyte)(i % 16 == 0 ? min : i % 16 == 1 ? max : random.Next(min, max + 1));
        }

        var zeroPoints = scheme.Symmetric ? []
            : Enumerable.Range(0, groups).Select(i => (sbyte)(i % 3 == 0 ? min : i % 3 == 1 ? max : random.Next(min, max + 1))).ToArray();
        return new QuantizedTensor(rows, columns, scheme, codes, [.. Enumerable.Range(0, groups).Select(_ => Scale())], zeroPoints);

        float Scale() => scheme.ScalePrecision == ScalePrecision.Float16 ? (float)(Half)(0.001f + random.NextSingle()) : 1 / 3f;
    }
}
