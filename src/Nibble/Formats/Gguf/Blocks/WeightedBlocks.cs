using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Lane = System.Runtime.Intrinsics.Vector256<float>;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>Searches the scales of blocks of 32 weighted values, eight blocks side by side.</summary>
internal static class WeightedBlocks
{
    private const int Length = BlockCodes.Count;
    private const int Group = SubBlocks.Lanes * Length;
    private const int ScaleBytes = 2;

    // Above this ratio, rounding to binary16 moves a minimum by a twentieth of a step or more.
    private const float MostScales = 64;
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
            var fit = SymmetricFit.Find(x, w, zero, bits == 4 ? FourBits : FiveBits, out _, out _);
            var inverse = SubBlocks.Reciprocal(fit);
            var (squares, products) = (Lane.Zero, Lane.Zero);
            for (var i = 0; i < Length; i++)
            {
                var code = SubBlocks.Code(x[i], inverse, -middle, middle - Lane.One);
                var weighted = x[i] * w[i];
                squares = Vector256.FusedMultiplyAdd(weighted, x[i], squares);
                products = Vector256.FusedMultiplyAdd(weighted, code * fit, products);
                x[i] = code + middle;
            }

            var scales = Round(fit * SubBlocks.Stretch(squares, products));
            SubBlocks.Join(x, Length, codes);
            for (var lane = 0; lane < SubBlocks.Lanes && !blocks.IsEmpty; lane++, blocks = blocks[blockBytes..])
            {
                var scale = scales[lane];
                if (IsCoarse(fit[lane], 0))
                {
                    var block = start + (lane * Length);
                    (scale, _) = Again(values.Slice(block, Length), weights.Slice(block, Length), (fit[lane], 0),
                        -zero, zero - 1, codes.Slice(lane * Length, Length));
                }

                Rounding.WriteHalf(blocks, scale);
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
            var inverse = SubBlocks.Reciprocal(fit.Scale);
            var (squares, products) = (Lane.Zero, Lane.Zero);
            for (var i = 0; i < Length; i++)
            {
                var code = SubBlocks.Code(x[i] - fit.Minimum, inverse, Lane.Zero, Vector256.Create((float)steps));
                var weighted = x[i] * w[i];
                squares = Vector256.FusedMultiplyAdd(weighted, x[i], squares);
                products = Vector256.FusedMultiplyAdd(weighted, (code * fit.Scale) + fit.Minimum, products);
                x[i] = code;
            }

            var stretch = SubBlocks.Stretch(squares, products);
            var (scales, minimums) = (Round(fit.Scale * stretch), Round(fit.Minimum * stretch));
            SubBlocks.Join(x, Length, codes);
            for (var lane = 0; lane < SubBlocks.Lanes && !blocks.IsEmpty; lane++, blocks = blocks[blockBytes..])
            {
                var (scale, minimum) = (scales[lane], minimums[lane]);
                if (IsCoarse(fit.Scale[lane], fit.Minimum[lane]))
                {
                    var block = start + (lane * Length);
                    (scale, minimum) = Again(values.Slice(block, Length), weights.Slice(block, Length),
                        (fit.Scale[lane], fit.Minimum[lane]), 0, steps, codes.Slice(lane * Length, Length));
                }

                Rounding.WriteHalf(blocks, scale);
                Rounding.WriteHalf(blocks[ScaleBytes..], minimum);
                BlockCodes.Pack(codes.Slice(lane * Length, Length), bits, blocks[(2 * ScaleBytes)..]);
            }
        }
    }

    /// <summary>Whether binary16 is so coarse around a scale or minimum that codes must be chosen for the stored numbers.</summary>
    private static bool IsCoarse(float scale, float minimum) =>
        scale != 0 && (MathF.Abs(scale) < StepChoice.LeastFine || MathF.Abs(minimum) > MostScales * MathF.Abs(scale));

    /// <summary>Finds the binary16 scale and minimum near the fitted ones, and their codes, that give a block the least weighted squared error.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static (float Scale, float Minimum) Again(
        ReadOnlySpan<float> values, ReadOnlySpan<float> weights, (float Scale, float Minimum) fit, int first, int last, Span<byte> codes)
    {
        var (best, least) = ((Scale: 0f, Minimum: 0f), double.PositiveInfinity);
        Span<float> scales = stackalloc float[3];
        Span<float> minimums = stackalloc float[3];
        Around(fit.Scale, scales);
        Around(fit.Minimum, minimums);
        foreach (var scale in scales)
        {
            foreach (var minimum in first < 0 ? minimums[..1] : minimums)
            {
                var error = 0d;
                for (var i = 0; i < values.Length; i++)
                {
                    var rest = values[i] - ((scale * Code(values[i], scale, minimum)) + minimum);
                    error += weights[i] * (double)rest * rest;
                }

                (best, least) = error < least ? ((scale, minimum), error) : (best, least);
            }
        }

        for (var i = 0; i < values.Length; i++)
        {
            codes[i] = (byte)(Code(values[i], best.Scale, best.Minimum) - first);
        }

        return best;

        float Code(float value, float scale, float minimum) => Math.Clamp(MathF.Round((value - minimum) * Rounding.Reciprocal(scale)), first, last);

        static void Around(float value, Span<float> halves)
        {
            var limit = (float)Half.MaxValue;
            var half = (Half)Math.Clamp(value, -limit, limit);
            halves[0] = (float)half;
            halves[1] = Math.Max((float)Half.BitDecrement(half), -limit);
            halves[2] = Math.Min((float)Half.BitIncrement(half), limit);
        }
    }

    /// <summary>Puts eight blocks side by side, padded with zeros if there are fewer.</summary>
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

    /// <summary>Rounds to the nearest binary16 numbers.</summary>
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
