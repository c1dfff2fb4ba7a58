using System.Runtime.Intrinsics;
using Lane = System.Runtime.Intrinsics.Vector256<float>;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>The scales to try before the best codes are fitted.</summary>
/// <param name="First">The first scale maps the whole range to the last code plus this value.</param>
/// <param name="Step">The increment from one scale to the next.</param>
/// <param name="Tries">The number of scales.</param>
internal readonly record struct ScaleTries(float First, float Step, int Tries);

/// <summary>The scales and minimums of eight sub-blocks that give the least weighted squared error with codes from 0 up:
/// <c>value = scale * code + minimum</c>.</summary>
/// <remarks>
/// Each scale to try assigns codes to the values. For given codes, linear regression gives the scale and minimum. Finally, the best candidate's codes are
/// rounded again and fitted once more.
/// </remarks>
internal readonly struct AffineFit
{
    // In a block of 32 codes up to 31, a single differing code gives 30 times this value, and rounding gives a fifth of it.
    private const float Spread = 1e-6f;

    // The relative rounding error of sums of squares.
    private const float Rest = 1e-6f;

    /// <summary>The scale; 0 if the sub-block is constant.</summary>
    public Lane Scale { get; private init; }

    /// <summary>The value of code 0.</summary>
    public Lane Minimum { get; private init; }

    /// <summary>The weighted mean of the codes: how far the best minimum falls as the scale rises.</summary>
    public Lane MeanCode { get; private init; }

    /// <summary>The weighted sum of the squared codes: the cost of an error in the scale.</summary>
    public Lane Squares { get; private init; }

    /// <summary>The sum of the weights: the cost of an error in the minimum.</summary>
    public Lane Weight { get; private init; }

    /// <summary>The squared error before scale and minimum are rounded. No sub-block can have much less.</summary>
    public Lane Error { get; private init; }

    /// <summary>Fits eight sub-blocks.</summary>
    /// <param name="values">One lane per sub-block, see <see cref="SubBlocks.Split"/>.</param>
    /// <param name="weights">The weights of the squared errors, above 0.</param>
    /// <param name="lastCode">The largest code.</param>
    /// <param name="tries">The scales to try.</param>
    /// <param name="belowZero">Whether minimums must not exceed zero.</param>
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

        // Sums relative to the lowest value lose no digits to a common offset.
        var highest = belowZero ? -low : Vector256.Create(float.PositiveInfinity);
        var (total, sum, power) = (Lane.Zero, Lane.Zero, Lane.Zero);
        for (var i = 0; i < values.Length; i++)
        {
            var value = values[i] - low;
            total += weights[i];
            sum = Vector256.FusedMultiplyAdd(weights[i], value, sum);
            power = Vector256.FusedMultiplyAdd(weights[i] * value, value, power);
        }

        // The baseline is all codes zero. Errors omit the sum of the values' squares.
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

            // If all values have the same code, scale and minimum are not determined separately, and a minimum at its limit is as good as any other.
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
