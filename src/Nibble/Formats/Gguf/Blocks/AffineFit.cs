using System.Runtime.Intrinsics;
using Lane = System.Runtime.Intrinsics.Vector256<float>;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>The scales that are tried before the best codes are fitted.</summary>
/// <param name="First">The first maps the whole range to the last code and this.</param>
/// <param name="Step">From one to the next.</param>
/// <param name="Tries">How many.</param>
internal readonly record struct ScaleTries(float First, float Step, int Tries);

/// <summary>The scales and minimums of eight sub-blocks with which codes from 0 on leave the least weighted squared error: <c>value = scale * code +
/// minimum</c>.</summary>
/// <remarks>
/// A scale that is tried says which codes values get; for given codes, scale and minimum follow from linear regression. At the end the codes
/// of the best are rounded anew and fitted once more.
/// </remarks>
internal readonly struct AffineFit
{
    // Of a block of 32 codes up to 31, one that differs gives 30 times as much, and rounding a fifth.
    private const float Spread = 1e-6f;

    // What sums of squares lose by rounding.
    private const float Rest = 1e-6f;

    /// <summary>0 where a sub-block is constant.</summary>
    public Lane Scale { get; private init; }

    /// <summary>The value of code 0.</summary>
    public Lane Minimum { get; private init; }

    /// <summary>The weighted mean of the codes: by how much the best minimum falls when the scale rises.</summary>
    public Lane MeanCode { get; private init; }

    /// <summary>The weighted sum of the codes' squares: how much an error of the scale costs.</summary>
    public Lane Squares { get; private init; }

    /// <summary>The sum of the weights: how much an error of the minimum costs.</summary>
    public Lane Weight { get; private init; }

    /// <summary>What scale and minimum leave, before either is rounded: no sub-block can have much less.</summary>
    public Lane Error { get; private init; }

    /// <summary>Fits eight sub-blocks.</summary>
    /// <param name="values">A lane each, see <see cref="SubBlocks.Split"/>.</param>
    /// <param name="weights">How much squared errors count, above 0.</param>
    /// <param name="lastCode">The largest code.</param>
    /// <param name="tries">The scales to try.</param>
    /// <param name="belowZero">Whether minimums must not be above zero.</param>
    public static AffineFit Find(ReadOnlySpan<Lane> values, ReadOnlySpan<Lane> weights, int lastCode, ScaleTries tries, bool belowZero)
    {
        var (low, high) = (values[0], values[0]);
        foreach (var value in values)
        {
            low = Vector256.MinNative(low, value);
            high = Vector256.MaxNative(high, value);
        }

        low = belowZero ? Vector256.MinNative(low, Lane.Zero) : low;
        var range = high - low;
        var perRange = Vector256.ConditionalSelect(Vector256.GreaterThan(range, Vector256.Create(SubBlocks.Least)), Lane.One / range, Lane.Zero);

        // Counted from the lowest value on, sums lose no digits to a common offset.
        var highest = belowZero ? -low : Vector256.Create(float.PositiveInfinity);
        var (total, sum, power) = (Lane.Zero, Lane.Zero, Lane.Zero);
        for (var i = 0; i < values.Length; i++)
        {
            var value = values[i] - low;
            total += weights[i];
            sum = Vector256.FusedMultiplyAdd(weights[i], value, sum);
            power = Vector256.FusedMultiplyAdd(weights[i] * value, value, power);
        }

        // All codes zero is what has to be beaten; errors are told less the squares of the values.
        var offset = Vector256.MinNative(sum / total, highest);
        var least = offset * ((offset * total) - (sum + sum));
        var (scale, mean, found) = (Lane.Zero, Lane.Zero, Lane.Zero);
        var last = Vector256.Create((float)lastCode);
        for (var number = 0; number <= tries.Tries; number++)
        {
            var isTry = number < tries.Tries;
            var inverse = isTry ? Vector256.Create(lastCode + tries.First + (tries.Step * number)) * perRange : SubBlocks.Reciprocal(scale);
            var zero = isTry ? low : low + offset;
            var (codes, squares, products) = (Lane.Zero, Lane.Zero, Lane.Zero);
            for (var i = 0; i < values.Length; i++)
            {
                var code = SubBlocks.Code(values[i] - zero, inverse, Lane.Zero, last);
                var weighted = code * weights[i];
                codes += weighted;
                squares = Vector256.FusedMultiplyAdd(weighted, code, squares);
                products = Vector256.FusedMultiplyAdd(weighted, values[i] - low, products);
            }

            var determinant = (total * squares) - (codes * codes);
            var fittedScale = ((total * products) - (sum * codes)) / determinant;
            var fittedOffset = ((squares * sum) - (codes * products)) / determinant;

            // Where all values have the same code, scale and minimum are free against each other, and one at its limit is as good as any.
            var above = Vector256.GreaterThan(fittedOffset, highest) | Vector256.LessThan(determinant, total * squares * Vector256.Create(Spread));
            fittedOffset = Vector256.ConditionalSelect(above, highest, fittedOffset);
            fittedScale = Vector256.ConditionalSelect(above, (products - (fittedOffset * codes)) / squares, fittedScale);
            var error = (fittedScale * ((fittedScale * squares) + (2 * ((fittedOffset * codes) - products))))
                + (fittedOffset * ((fittedOffset * total) - (sum + sum)));
            var better = Vector256.LessThan(error, least) & Vector256.GreaterThan(fittedScale, Lane.Zero);
            least = Vector256.ConditionalSelect(better, error, least);
            scale = Vector256.ConditionalSelect(better, fittedScale, scale);
            offset = Vector256.ConditionalSelect(better, fittedOffset, offset);
            mean = Vector256.ConditionalSelect(better, codes / total, mean);
            found = Vector256.ConditionalSelect(better, squares, found);
        }

        var unavoidable = Vector256.MaxNative(power + least, power * Vector256.Create(Rest));
        return new AffineFit { Scale = scale, Minimum = low + offset, MeanCode = mean, Squares = found, Weight = total, Error = unavoidable };
    }
}
