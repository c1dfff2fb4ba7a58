using System.Runtime.Intrinsics;
using Lane = System.Runtime.Intrinsics.Vector256<float>;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>Blocks of 32 values whose scales are searched, since some values count more than others; eight blocks side by side.</summary>
internal static class WeightedBlocks
{
    private const int Length = BlockCodes.Count;
    private const int Group = SubBlocks.Lanes * Length;
    private const int ScaleBytes = 2;
    private static readonly ScaleTries FourBits = new(First: -2, Step: 0.2f, Tries: 16);
    private static readonly ScaleTries FiveBits = new(First: -4, Step: 0.4f, Tries: 13);

    /// <summary>Q4_0 and Q5_0.</summary>
    public static void QuantizeSigned(ReadOnlySpan<float> values, ReadOnlySpan<float> weights, int bits, int blockBytes, Span<byte> blocks)
    {
        var zero = 1 << (bits - 1);
        var middle = Vector256.Create((float)zero);
        Span<Lane> x = stackalloc Lane[Length];
        Span<Lane> w = stackalloc Lane[Length];
        Span<byte> codes = stackalloc byte[Group];
        for (var start = 0; start < values.Length; start += Group)
        {
            Take(values, weights, start, x, w);
            var scales = Round(SymmetricFit.Find(x, w, zero, bits == 4 ? FourBits : FiveBits));
            var inverse = SubBlocks.Reciprocal(scales);
            foreach (ref var value in x)
            {
                value = SubBlocks.Code(value, inverse, -middle, middle - Lane.One) + middle;
            }

            SubBlocks.Join(x, Length, codes);
            for (var lane = 0; lane < SubBlocks.Lanes && !blocks.IsEmpty; lane++, blocks = blocks[blockBytes..])
            {
                Rounding.WriteHalf(blocks, scales[lane]);
                BlockCodes.Pack(codes.Slice(lane * Length, Length), bits, blocks[ScaleBytes..]);
            }
        }
    }

    /// <summary>Q4_1 and Q5_1.</summary>
    public static void QuantizeAffine(ReadOnlySpan<float> values, ReadOnlySpan<float> weights, int bits, int blockBytes, Span<byte> blocks)
    {
        var steps = (1 << bits) - 1;
        Span<Lane> x = stackalloc Lane[Length];
        Span<Lane> w = stackalloc Lane[Length];
        Span<byte> codes = stackalloc byte[Group];
        for (var start = 0; start < values.Length; start += Group)
        {
            Take(values, weights, start, x, w);
            var fit = AffineFit.Find(x, w, steps, bits == 4 ? FourBits : FiveBits, belowZero: false);
            var (scales, minimums) = (Round(fit.Scale), Round(fit.Minimum));
            var inverse = SubBlocks.Reciprocal(scales);
            foreach (ref var value in x)
            {
                value = SubBlocks.Code(value - minimums, inverse, Lane.Zero, Vector256.Create((float)steps));
            }

            SubBlocks.Join(x, Length, codes);
            for (var lane = 0; lane < SubBlocks.Lanes && !blocks.IsEmpty; lane++, blocks = blocks[blockBytes..])
            {
                Rounding.WriteHalf(blocks, scales[lane]);
                Rounding.WriteHalf(blocks[ScaleBytes..], minimums[lane]);
                BlockCodes.Pack(codes.Slice(lane * Length, Length), bits, blocks[(2 * ScaleBytes)..]);
            }
        }
    }

    /// <summary>Puts eight blocks side by side; zeros where there are fewer.</summary>
    private static void Take(ReadOnlySpan<float> values, ReadOnlySpan<float> weights, int start, Span<Lane> x, Span<Lane> w)
    {
        if (values.Length - start >= Group)
        {
            SubBlocks.Split(values.Slice(start, Group), Length, x);
            SubBlocks.Split(weights.Slice(start, Group), Length, w);
            return;
        }

        Span<float> padded = stackalloc float[Group];
        padded.Clear();
        values[start..].CopyTo(padded);
        SubBlocks.Split(padded, Length, x);
        padded.Fill(1);
        weights[start..].CopyTo(padded);
        SubBlocks.Split(padded, Length, w);
    }

    /// <summary>The nearest binary16 numbers.</summary>
    private static Lane Round(Lane values)
    {
        var limit = (float)Half.MaxValue;
        Span<float> rounded = stackalloc float[SubBlocks.Lanes];
        for (var i = 0; i < SubBlocks.Lanes; i++)
        {
            rounded[i] = SubBlocks.ToHalf(Math.Clamp(values[i], -limit, limit));
        }

        return Vector256.Create<float>(rounded);
    }
}
