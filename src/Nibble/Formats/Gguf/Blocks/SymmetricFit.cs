using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Lane = System.Runtime.Intrinsics.Vector256<float>;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>The scales of eight sub-blocks with which codes around zero leave the least weighted squared error: <c>value = scale * code</c>.</summary>
/// <remarks>
/// Codes go from <c>-zero</c> to <c>zero - 1</c>, so that scales of both signs are tried: those that map the largest magnitude to the end
/// that has no counterpart, and those that map it to the other. For given codes the scale follows from linear regression.
/// </remarks>
internal static class SymmetricFit
{
    // The distance from the end at which no code reaches the end, whatever is lost in rounding.
    private const float Inside = -0.75f;
    private const int Finer = 4;

    // What sums of squares lose by rounding.
    private const float Rest = 1e-6f;

    /// <summary>Fits eight sub-blocks.</summary>
    /// <param name="values">A lane each, see <see cref="SubBlocks.Split"/>.</param>
    /// <param name="weights">How much squared errors count, above 0; all the same when empty.</param>
    /// <param name="zero">How many codes are below zero.</param>
    /// <param name="tries">The scales to try.</param>
    /// <param name="gain">What the scales take off the weighted squared error of zeros.</param>
    /// <param name="error">What they leave of it: no sub-block can have much less.</param>
    /// <returns>The scales; 0 where a sub-block is zero.</returns>
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

        // Values of one sign that lie close together get few codes, between which small differences of the scale decide.
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

        // Once more around the best of them.
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

    /// <summary>Tries two scales side by side, so that neither's sums wait for themselves.</summary>
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
        // What the fitted scale takes off the squared error; not a number where all codes are zero, and then no better.
        var fitted = products / squares;
        var found = fitted * products;
        var better = Vector256.GreaterThan(found, gain);
        gain = Vector256.ConditionalSelect(better, found, gain);
        scale = Vector256.ConditionalSelect(better, fitted, scale);
    }
}
