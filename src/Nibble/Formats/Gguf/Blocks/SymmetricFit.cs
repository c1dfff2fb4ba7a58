using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Lane = System.Runtime.Intrinsics.Vector256<float>;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>The scales of eight sub-blocks that give the least weighted squared error with codes around zero: <c>value = scale * code</c>.</summary>
/// <remarks>
/// Codes run from <c>-zero</c> to <c>zero - 1</c>, so the search tries scales of both signs. One sign maps the largest magnitude to the end without a
/// counterpart, the other to the opposite end. For given codes, linear regression gives the scale.
/// </remarks>
internal static class SymmetricFit
{
    // Below this distance no code reaches the end of the range, even with rounding errors.
    private const float Inside = -0.75f;
    private const int Finer = 4;

    // The relative rounding error of sums of squares.
    private const float Rest = 1e-6f;

    /// <summary>Fits eight sub-blocks.</summary>
    /// <param name="values">One lane per sub-block, see <see cref="SubBlocks.Split"/>.</param>
    /// <param name="weights">The weights of the squared errors, above 0; empty for equal weights.</param>
    /// <param name="zero">The number of codes below zero.</param>
    /// <param name="tries">The scales to try.</param>
    /// <param name="gain">How much the scales reduce the weighted squared error, compared with all zeros.</param>
    /// <param name="error">The weighted squared error. No sub-block can have much less.</param>
    /// <returns>The scales; 0 for an all-zero sub-block.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static Lane Find(ReadOnlySpan<Lane> values, ReadOnlySpan<Lane> weights, int zero, ScaleTries tries, out Lane gain, out Lane error) =>
        weights.IsEmpty ? Find(values, weights, zero, tries, weighted: false, out gain, out error)
            : Find(values, weights, zero, tries, weighted: true, out gain, out error);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Lane Find(ReadOnlySpan<Lane> values, ReadOnlySpan<Lane> weights, int zero, ScaleTries tries,
        [ConstantExpected] bool weighted, out Lane gained, out Lane error)
    {
        var (low, high) = (values[0], values[0]);
        foreach (var value in values)
        {
            low = Vector256.MinNative(low, value);
            high = Vector256.MaxNative(high, value);
        }

        var peak = Vector256.ConditionalSelect(Vector256.GreaterThan(high, -low), high, low);
        var perPeak = Vector256.ConditionalSelect(Vector256.GreaterThan(Vector256.Abs(peak), Vector256.Create(SubBlocks.Least)), Lane.One / peak, Lane.Zero);
        var (gain, scale) = (Lane.Zero, Lane.Zero);
        for (var number = 0; number < tries.Tries; number++)
        {
            var distance = tries.First + (tries.Step * number);
            var (inverse, other) = (Vector256.Create(-(zero + distance)) * perPeak, Vector256.Create(zero - 1 + distance) * perPeak);
            if (distance < Inside)
            {
                Try(values, weights, inverse, other, zero, weighted, limited: false, ref gain, ref scale);
            }
            else
            {
                Try(values, weights, inverse, other, zero, weighted, limited: true, ref gain, ref scale);
            }
        }

        // Values of one sign that are close together use few codes, so small differences in the scale matter.
        var narrow = Vector256.GreaterThan(low + low, high) | Vector256.LessThan(high + high, low);
        if (narrow != Lane.Zero)
        {
            var (finerGain, finerScale) = (gain, scale);
            for (var number = 0; number < Finer * tries.Tries; number++)
            {
                var distance = tries.First + (tries.Step * number / Finer);
                var (inverse, other) = (Vector256.Create(-(zero + distance)) * perPeak, Vector256.Create(zero - 1 + distance) * perPeak);
                Try(values, weights, inverse, other, zero, weighted, limited: true, ref finerGain, ref finerScale);
            }

            gain = Vector256.ConditionalSelect(narrow, finerGain, gain);
            scale = Vector256.ConditionalSelect(narrow, finerScale, scale);
        }

        // One more fit with the best scale.
        var again = SubBlocks.Reciprocal(scale);
        var (first, last) = (Vector256.Create(-(float)zero), Vector256.Create(zero - 1f));
        var (products, squares) = (Lane.Zero, Lane.Zero);
        for (var i = 0; i < values.Length; i++)
        {
            Add(values[i], weighted ? weights[i] : Lane.One, again, first, last, weighted, limited: true, ref products, ref squares);
        }

        Take(products, squares, ref gain, ref scale);
        var power = Lane.Zero;
        for (var i = 0; i < values.Length; i++)
        {
            power = Vector256.FusedMultiplyAdd(weighted ? values[i] * weights[i] : values[i], values[i], power);
        }

        (gained, error) = (gain, Vector256.MaxNative(power - gain, power * Vector256.Create(Rest)));
        return scale;
    }

    /// <summary>Tries two scales in parallel, so that their sums do not wait for each other.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Try(
        ReadOnlySpan<Lane> values, ReadOnlySpan<Lane> weights, Lane inverse, Lane other, int zero, [ConstantExpected] bool weighted,
        [ConstantExpected] bool limited, ref Lane gain, ref Lane scale)
    {
        var (first, last) = (Vector256.Create(-(float)zero), Vector256.Create(zero - 1f));
        var (products, squares) = (Lane.Zero, Lane.Zero);
        var (otherProducts, otherSquares) = (Lane.Zero, Lane.Zero);
        for (var i = 0; i < values.Length; i++)
        {
            var (value, weight) = (values[i], weighted ? weights[i] : Lane.One);
            Add(value, weight, inverse, first, last, weighted, limited, ref products, ref squares);
            Add(value, weight, other, first, last, weighted, limited, ref otherProducts, ref otherSquares);
        }

        Take(products, squares, ref gain, ref scale);
        Take(otherProducts, otherSquares, ref gain, ref scale);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add(
        Lane value, Lane weight, Lane inverse, Lane first, Lane last, [ConstantExpected] bool weighted, [ConstantExpected] bool limited, ref Lane products,
        ref Lane squares)
    {
        var code = limited ? SubBlocks.Code(value, inverse, first, last) : Vector256.Round(value * inverse);
        var product = weighted ? code * weight : code;
        products = Vector256.FusedMultiplyAdd(product, value, products);
        squares = Vector256.FusedMultiplyAdd(product, code, squares);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Take(Lane products, Lane squares, ref Lane gain, ref Lane scale)
    {
        // How much the fitted scale reduces the squared error. NaN if all codes are zero, which never counts as better.
        var fitted = products / squares;
        var found = fitted * products;
        var better = Vector256.GreaterThan(found, gain);
        gain = Vector256.ConditionalSelect(better, found, gain);
        scale = Vector256.ConditionalSelect(better, fitted, scale);
    }
}
