using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Lane = System.Runtime.Intrinsics.Vector256<float>;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>Chooses the step of a super-block: its scales or minimums are whole multiples of the step.</summary>
/// <remarks>
/// By default the largest size gets the last number, because rounding the sizes to steps then costs little. It costs more if the sizes that matter most are
/// far below the largest. In that case the search also tries steps that represent one of the other sizes exactly. Where binary16 is coarse, the search
/// tries both neighbours, because one may be far off.
/// </remarks>
internal static class StepChoice
{
    // Sizes spread evenly below the largest lose a tenth of this.
    private const float Tolerated = 0.7f;
    private const int MoreNumbers = 4;

    /// <summary>The limit for the ratio of the error with common steps to the error without. For typical model weights the ratio is 1.1 to 2.</summary>
    public const float Strained = 4;

    /// <summary>The number of steps to try if the ratio exceeds the limit.</summary>
    public const int Others = 5;

    /// <summary>Below this value, neighbouring binary16 numbers differ by more than one percent.</summary>
    public const float LeastFine = 64 * 5.9604645e-08f;

    /// <summary>Chooses a step.</summary>
    /// <param name="sizes">The values to represent as <c>step * number</c>, one per lane.</param>
    /// <param name="weights">The weight of each size's squared error.</param>
    /// <param name="peak">The size with the largest magnitude.</param>
    /// <param name="first">The lowest number: 0, or negative if numbers have both signs.</param>
    /// <param name="last">The highest number.</param>
    /// <returns>A binary16 number; 0 if all sizes are 0.</returns>
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
            // With these numbers the step is at most about the common step, and larger sizes are clamped to the last number.
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

    /// <summary>The step that lowers the number of the largest size by <paramref name="lower"/>.</summary>
    public static float Other(float step, int last, int lower) => SubBlocks.ToHalf(step * last / Math.Max(1, last - lower));

    /// <summary>Stretches a step, see <see cref="SubBlocks.Stretch(float, float)"/>. A small step stays unchanged, because the next binary16 number is far
    /// away.</summary>
    public static float Stretch(float step, float stretch) => MathF.Abs(step) < LeastFine ? step : SubBlocks.ToHalf(step * stretch);
}
