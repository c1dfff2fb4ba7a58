using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Lane = System.Runtime.Intrinsics.Vector256<float>;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>The step that a super-block's scales, or its minimums, are whole multiples of.</summary>
/// <remarks>
/// The largest of them gets the last number, as a rule: rounding to steps then costs little. Where it costs more, since what counts most is small beside
/// the largest, steps that say one of the others exactly are tried too. Where the numbers of binary16 are coarse, both neighbours are tried, since one may
/// be far off.
/// </remarks>
internal static class StepChoice
{
    // Sizes spread evenly below the largest lose a tenth of this.
    private const float Tolerated = 0.7f;
    private const int MoreNumbers = 4;

    /// <summary>By how many times what sub-blocks leave in common steps may exceed what each leaves alone; 1.1 to 2 for weights as models have them.</summary>
    public const float Strained = 4;

    /// <summary>Steps that are tried where more is left than that.</summary>
    public const int Others = 5;

    /// <summary>Below this, the numbers of binary16 lie more than a hundredth apart.</summary>
    public const float LeastFine = 64 * 5.9604645e-08f;

    /// <summary>Chooses a step.</summary>
    /// <param name="sizes">What is to be said as <c>step * number</c>, a lane each.</param>
    /// <param name="weights">How much the squares of what a size is off by count.</param>
    /// <param name="peak">The largest size by magnitude.</param>
    /// <param name="first">The lowest number: 0, or below it where numbers have both signs.</param>
    /// <param name="last">The highest number.</param>
    /// <returns>A binary16 number; 0 where all sizes are.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Find(ReadOnlySpan<Lane> sizes, ReadOnlySpan<Lane> weights, float peak, int first, int last)
    {
        if (peak == 0)
        {
            return 0;
        }

        var largest = first < 0 ? first : last;
        var step = SubBlocks.ToHalf(peak / largest);
        var total = Lane.Zero;
        for (var i = 0; i < sizes.Length; i++)
        {
            total = Vector256.FusedMultiplyAdd(weights[i] * sizes[i], sizes[i], total);
        }

        return MathF.Abs(step) >= LeastFine && Error(sizes, weights, step, first, last) <= Tolerated / (largest * largest) * SubBlocks.Sum(total)
            ? step
            : Search(sizes, weights, peak, first, last);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Error(ReadOnlySpan<Lane> sizes, ReadOnlySpan<Lane> weights, float step, int first, int last)
    {
        var (inverse, low, high) = (Vector256.Create(Rounding.Reciprocal(step)), Vector256.Create((float)first), Vector256.Create((float)last));
        var (negated, errors) = (Vector256.Create(-step), Lane.Zero);
        for (var i = 0; i < sizes.Length; i++)
        {
            var rest = Vector256.FusedMultiplyAdd(negated, SubBlocks.Code(sizes[i], inverse, low, high), sizes[i]);
            errors = Vector256.FusedMultiplyAdd(rest * weights[i], rest, errors);
        }

        return SubBlocks.Sum(errors);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static float Search(ReadOnlySpan<Lane> sizes, ReadOnlySpan<Lane> weights, float peak, int first, int last)
    {
        var common = peak / (first < 0 ? first : last);
        var (best, least) = (0f, float.PositiveInfinity);
        Try(common, sizes, weights, ref best, ref least);
        foreach (var size in MemoryMarshal.Cast<Lane, float>(sizes))
        {
            // With these numbers the step is about the common one or smaller, and the larger sizes are cut off at the last.
            var number = MathF.Floor(MathF.Abs(size) * Rounding.Reciprocal(MathF.Abs(common)));
            for (var more = 0; more <= MoreNumbers && size != 0; more++)
            {
                Try(size / Math.Clamp(number + more, 1, last), sizes, weights, ref best, ref least);
                if (first < 0)
                {
                    Try(size / Math.Clamp(-number - more, first, -1), sizes, weights, ref best, ref least);
                }
            }

            Try(size / last, sizes, weights, ref best, ref least);
        }

        return best;

        void Try(float step, ReadOnlySpan<Lane> sizes, ReadOnlySpan<Lane> weights, ref float best, ref float least)
        {
            var half = (Half)step;
            Span<float> candidates = [(float)half, MathF.Abs(step) < LeastFine ? (float)(half + Half.CopySign(Half.Epsilon, (Half)MathF.Sign(step)))
                : (float)half];
            foreach (var candidate in candidates)
            {
                var error = candidate != 0 ? Error(sizes, weights, candidate, first, last) : float.PositiveInfinity;
                (best, least) = error < least ? (candidate, error) : (best, least);
            }
        }
    }

    /// <summary>The step with which the largest size has a number that is lower by one or some.</summary>
    public static float Other(float step, int last, int lower) => SubBlocks.ToHalf(step * last / Math.Max(1, last - lower));

    /// <summary>Stretches a step, see <see cref="SubBlocks.Stretch(float, float)"/>; a small one stays, since the next number of binary16 is far off.</summary>
    public static float Stretch(float step, float stretch) => MathF.Abs(step) < LeastFine ? step : SubBlocks.ToHalf(step * stretch);
}
