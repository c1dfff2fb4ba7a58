using Nibble.Tests.Numerics.Kernels;
using Nibble.Files;
using Nibble.Formats.Gguf.Blocks;

namespace Nibble.Tests.Formats.Gguf.Blocks;

/// <summary>Searches of eight sub-blocks side by side find, bit for bit, what <see cref="SuperBlockSpecification"/> finds one after the other.</summary>
public class SearchSpecificationTests
{
    public static TheoryData<GgufType> SuperBlocks { get; } = [GgufType.Q2_K, GgufType.Q3_K, GgufType.Q4_K, GgufType.Q5_K, GgufType.Q6_K];

    public static TheoryData<GgufType> WeightedTypes { get; } = [GgufType.Q4_0, GgufType.Q4_1, GgufType.Q5_0, GgufType.Q5_1];

    [Theory]
    [MemberData(nameof(SuperBlocks))]
    public void SuperBlocksAreThoseOfTheSpecification(GgufType type)
    {
        var ordinary = Gen.Select(Gen.Float[-20, 10], Gen.Float[-1, 1].Array[256])
            .Select((exponent, values) => Array.ConvertAll(values, value => value * MathF.Pow(2, exponent)));
        var any = Gens.Any.Where(value => float.IsFinite(value) && MathF.Abs(value) < 65504).Array[256];
        var constant = Gen.Select(Gen.Float[-2, 2], Gen.Int[0, 256])
            .Select((value, count) => Enumerable.Range(0, 256).Select(i => i < count ? value : 0).ToArray());
        Gen.Select(Gen.Frequency((3, ordinary), (2, any), (1, constant)), Gen.Frequency((1, Gen.Const(1f).Array[256]), (1, Gen.Float[0.001f, 100].Array[256])))
            .Sample((values, weights) => AssertSpecified(type, values, weights), iter: 300);
    }

    /// <summary>Every number of blocks, whole groups of eight and rests.</summary>
    [Theory]
    [MemberData(nameof(WeightedTypes))]
    public void WeightedBlocksAreThoseOfTheSpecification(GgufType type)
    {
        for (var count = 1; count <= 18; count++)
        {
            var values = RandomWeights.Of(count % 2 == 0 ? "student" : "shifted", 32 * count);
            values.AsSpan(0, count % 3 == 0 ? 40 : 0).Clear();
            var weights = Array.ConvertAll(RandomWeights.Of("laplace", 32 * count), value => MathF.Exp(20 * value));
            var blocks = new byte[count * type.BlockBytes()];
            ((IWeightedCodec)BlockCodecs.For(type)).Quantize(values, weights, blocks);
            Assert.Equal(Enumerable.Range(0, count).SelectMany(i => Expected(type, values[(32 * i)..(32 * (i + 1))], weights[(32 * i)..(32 * (i + 1))])),
                Restore(type, blocks));
        }
    }

    private static float[] Expected(GgufType type, float[] x, float[] w)
    {
        var bits = type is GgufType.Q4_0 or GgufType.Q4_1 ? 4 : 5;
        var tries = bits == 4 ? new ScaleTries(-2, 0.2f, 16) : new ScaleTries(-4, 0.4f, 13);
        var (last, zero) = ((1 << bits) - 1, 1 << (bits - 1));
        if (type is GgufType.Q4_0 or GgufType.Q5_0)
        {
            var fitted = SuperBlockSpecification.SymmetricSub(x, w, zero, tries).Scale;
            var codes = Array.ConvertAll(x, value => Code(value, fitted, -zero, zero - 1));
            var scale = (float)(Half)(fitted * SuperBlockSpecification.Stretch(x, w, _ => 0, i => codes[i] * fitted));
            return Array.ConvertAll(codes, code => scale * code);
        }

        var fit = SuperBlockSpecification.AffineSub(x, w, last, tries, belowZero: false);
        var steps = Array.ConvertAll(x, value => Code(value - fit.Minimum, fit.Scale, 0, last));
        var stretch = SuperBlockSpecification.Stretch(x, w, _ => 0, i => (steps[i] * fit.Scale) + fit.Minimum);
        var (step, minimum) = ((float)(Half)(fit.Scale * stretch), (float)(Half)(fit.Minimum * stretch));
        return Array.ConvertAll(steps, code => (step * code) + minimum);
    }

    private static float Code(float value, float scale, int first, int last) => Math.Clamp(MathF.Round(value * (scale == 0 ? 0 : 1 / scale)), first, last);

    private static void AssertSpecified(GgufType type, float[] values, float[] weights)
    {
        var (scales, minimums, codes) = (new int[16], new int[16], new int[256]);
        var expected = new float[256];
        if (type is GgufType.Q3_K or GgufType.Q6_K)
        {
            var grid = type == GgufType.Q3_K ? ThreeBitCodec.Grid : SixBitCodec.Grid;
            var step = SuperBlockSpecification.Symmetric(values, weights, grid, scales, codes);
            for (var i = 0; i < 256; i++)
            {
                expected[i] = step * scales[i / 16] * (codes[i] - grid.Zero);
            }
        }
        else
        {
            var grid = type == GgufType.Q2_K ? TwoBitCodec.Grid : ((FourFiveBitCodec)BlockCodecs.For(type)).Grid;
            var (scale, minimum) = SuperBlockSpecification.Affine(values, weights, grid, scales, minimums, codes);
            for (var i = 0; i < 256; i++)
            {
                expected[i] = (scale * scales[i / grid.Length] * codes[i]) - (minimum * minimums[i / grid.Length]);
            }
        }

        var block = new byte[type.BlockBytes()];
        ((IWeightedCodec)BlockCodecs.For(type)).Quantize(values, weights, block);
        Assert.Equal(expected, Restore(type, block));
        if (weights.All(weight => weight == 1))
        {
            BlockCodecs.For(type).Quantize(values, block);
            Assert.Equal(expected, Restore(type, block));
        }
    }

    private static float[] Restore(GgufType type, byte[] blocks)
    {
        var values = new float[blocks.Length / type.BlockBytes() * type.BlockSize()];
        BlockCodecs.For(type).Dequantize(blocks, values);
        return values;
    }
}
