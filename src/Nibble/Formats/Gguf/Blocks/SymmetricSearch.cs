using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Lane = System.Runtime.Intrinsics.Vector256<float>;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>A super-block of 16-value sub-blocks whose scales are whole numbers of steps: <c>value = step * s * code</c>.</summary>
/// <param name="Zero">Codes run from minus this value to one less than this value.</param>
/// <param name="ZeroStep">The same limits for <c>s</c>.</param>
/// <param name="Tries">The scales to try.</param>
internal sealed record SymmetricGrid(int Zero, int ZeroStep, ScaleTries Tries);

/// <summary>Finds the step, scales and codes of a super-block that give a low weighted squared error.</summary>
/// <remarks>
/// Works like <see cref="AffineSearch"/> without minimums. Sub-blocks are first fitted separately, and <see cref="StepChoice"/> finds the step. Each
/// sub-block takes the best whole number near its fitted scale, the step is refitted to those numbers, and the numbers are chosen once more. Finally, the
/// step is stretched.
/// </remarks>
internal static class SymmetricSearch
{
    private const int Length = 16;
    private const int Groups = SubBlocks.Vectors / Length;
    private const int Rounds = 2;

    /// <summary>Searches a super-block.</summary>
    /// <param name="values">256 finite values.</param>
    /// <param name="weights">The weights of the squared errors, above 0; empty for equal weights.</param>
    /// <param name="grid">The grid of the block.</param>
    /// <param name="scales">Receives <c>s</c> of each of 16 sub-blocks.</param>
    /// <param name="codes">Receives 256 codes, shifted to start at 0.</param>
    /// <returns>The step, as a binary16 value.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float Run(ReadOnlySpan<float> values, ReadOnlySpan<float> weights, SymmetricGrid grid, Span<sbyte> scales, Span<byte> codes)
    {
        Span<Lane> x = stackalloc Lane[SubBlocks.Vectors];
        Span<Lane> w = stackalloc Lane[SubBlocks.Vectors];
        SubBlocks.Split(values, Length, x);
        SubBlocks.Split(weights, Length, w);

        Span<Lane> fits = stackalloc Lane[Groups];
        Span<Lane> costs = stackalloc Lane[Groups];
        var (peaks, unavoidable) = (Lane.Zero, Lane.Zero);
        for (var group = 0; group < Groups; group++)
        {
            var weighting = weights.IsEmpty ? [] : w.Slice(group * Length, Length);
            var fit = SymmetricFit.Find(x.Slice(group * Length, Length), weighting, grid.Zero, grid.Tries, out var gain, out var error);
            peaks = Vector256.ConditionalSelect(Vector256.GreaterThan(Vector256.Abs(fit), Vector256.Abs(peaks)), fit, peaks);
            fits[group] = fit;
            unavoidable += error;
            costs[group] = Vector256.ConditionalSelect(Vector256.GreaterThan(gain, Lane.Zero), gain / (fit * fit), Lane.Zero);
        }

        // The largest scale gets the number without a counterpart.
        var step = StepChoice.Find(fits, costs, SubBlocks.Peak(peaks), -grid.ZeroStep, grid.ZeroStep - 1);
        Span<Lane> chosen = stackalloc Lane[Groups];
        Span<Lane> trial = stackalloc Lane[Groups];
        var (best, least) = (step, float.PositiveInfinity);
        Improve(x, w, grid, fits, step, chosen, trial, ref best, ref least);
        if (least > StepChoice.Strained * SubBlocks.Sum(unavoidable))
        {
            TryOthers(x, w, grid, fits, step, chosen, trial, ref best, ref least);
        }

        var (squares, products) = (Lane.Zero, Lane.Zero);
        for (var group = 0; group < Groups; group++)
        {
            Encode(x.Slice(group * Length, Length), w.Slice(group * Length, Length), grid.Zero, chosen[group] * best, ref squares, ref products);
            SubBlocks.Narrow(chosen[group]).CopyTo(scales[(SubBlocks.Lanes * group)..]);
        }

        SubBlocks.Join(x, Length, codes);
        return StepChoice.Stretch(best, SubBlocks.Stretch(SubBlocks.Sum(squares), SubBlocks.Sum(products)));
    }

    /// <summary>Tries steps that give the largest scale a smaller number, which may represent the others better.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void TryOthers(
        ReadOnlySpan<Lane> x, ReadOnlySpan<Lane> w, SymmetricGrid grid, ReadOnlySpan<Lane> fits, float step,
        Span<Lane> chosen, Span<Lane> trial, ref float best, ref float least)
    {
        for (var other = 1; other < StepChoice.Others * StepChoice.Others; other++)
        {
            Improve(x, w, grid, fits, StepChoice.Other(step, grid.ZeroStep, other), chosen, trial, ref best, ref least);
            Improve(x, w, grid, fits, -StepChoice.Other(step, grid.ZeroStep, other), chosen, trial, ref best, ref least);
        }
    }

    /// <summary>Chooses whole numbers for a given step, refits the step, and chooses once more. Keeps the result if it improves on the best so
    /// far.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Improve(
        ReadOnlySpan<Lane> x, ReadOnlySpan<Lane> w, SymmetricGrid grid, ReadOnlySpan<Lane> fits, float step,
        Span<Lane> chosen, Span<Lane> trial, ref float best, ref float least)
    {
        var before = float.PositiveInfinity;
        for (var round = 0; round < Rounds; round++)
        {
            var errors = Lane.Zero;
            for (var group = 0; group < Groups; group++)
            {
                errors += Choose(x.Slice(group * Length, Length), w.Slice(group * Length, Length), grid, fits[group], step, out trial[group]);
            }

            var error = SubBlocks.Sum(errors);
            if (error >= before)
            {
                return;
            }

            before = error;
            if (error < least)
            {
                (best, least) = (step, error);
                trial.CopyTo(chosen);
            }

            step = round + 1 < Rounds ? Refit(x, w, grid, trial, step) : step;
        }
    }

    /// <summary>Replaces values with codes, shifted to start at 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Encode(Span<Lane> x, ReadOnlySpan<Lane> w, int zeroCode, Lane scale, ref Lane squares, ref Lane products)
    {
        var zero = Vector256.Create((float)zeroCode);
        var (first, last) = (-zero, zero - Lane.One);
        var inverse = SubBlocks.Reciprocal(scale);
        var (ownSquares, ownProducts) = (squares, products);
        for (var i = 0; i < x.Length; i++)
        {
            var value = x[i];
            var code = SubBlocks.Code(value, inverse, first, last);
            var weighted = value * w[i];
            ownSquares = Vector256.FusedMultiplyAdd(weighted, value, ownSquares);
            ownProducts = Vector256.FusedMultiplyAdd(weighted, code * scale, ownProducts);
            x[i] = code + zero;
        }

        (squares, products) = (ownSquares, ownProducts);
    }

    /// <summary>Chooses the best whole number of steps near each sub-block's fitted scale.</summary>
    /// <returns>The squared errors.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static Lane Choose(ReadOnlySpan<Lane> x, ReadOnlySpan<Lane> w, SymmetricGrid grid, Lane fit, float step, out Lane scales)
    {
        var (lowest, highest) = (Vector256.Create(-(float)grid.Zero), Vector256.Create(grid.Zero - 1f));
        var (first, last) = (Vector256.Create(-(float)grid.ZeroStep), Vector256.Create(grid.ZeroStep - 1f));
        var center = Vector256.Round(fit * Rounding.Reciprocal(step));

        // In parallel, so that the sums do not wait for each other.
        var below = Vector256.MinNative(Vector256.MaxNative(center - Lane.One, first), last);
        var at = Vector256.MinNative(Vector256.MaxNative(center, first), last);
        var above = Vector256.MinNative(Vector256.MaxNative(center + Lane.One, first), last);
        var (scaleBelow, scaleAt, scaleAbove) = (below * step, at * step, above * step);
        var (inverseBelow, inverseAt, inverseAbove) = (SubBlocks.Reciprocal(scaleBelow), SubBlocks.Reciprocal(scaleAt), SubBlocks.Reciprocal(scaleAbove));
        var (errorBelow, errorAt, errorAbove) = (Lane.Zero, Lane.Zero, Lane.Zero);
        for (var i = 0; i < x.Length; i++)
        {
            errorBelow = Add(x[i], w[i], scaleBelow, inverseBelow, lowest, highest, errorBelow);
            errorAt = Add(x[i], w[i], scaleAt, inverseAt, lowest, highest, errorAt);
            errorAbove = Add(x[i], w[i], scaleAbove, inverseAbove, lowest, highest, errorAbove);
        }

        var better = Vector256.LessThan(errorAt, errorBelow);
        var least = Vector256.ConditionalSelect(better, errorAt, errorBelow);
        scales = Vector256.ConditionalSelect(better, at, below);
        better = Vector256.LessThan(errorAbove, least);
        scales = Vector256.ConditionalSelect(better, above, scales);
        return Vector256.ConditionalSelect(better, errorAbove, least);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static Lane Add(Lane value, Lane weight, Lane scale, Lane inverse, Lane lowest, Lane highest, Lane error)
        {
            var rest = Vector256.FusedMultiplyAdd(-scale, SubBlocks.Code(value, inverse, lowest, highest), value);
            return Vector256.FusedMultiplyAdd(rest * weight, rest, error);
        }
    }

    /// <summary>The step that fits the codes best if binary16 can hold it; otherwise the current step.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float Refit(ReadOnlySpan<Lane> x, ReadOnlySpan<Lane> w, SymmetricGrid grid, ReadOnlySpan<Lane> scales, float step)
    {
        var zero = Vector256.Create((float)grid.Zero);
        var (products, squares) = (Lane.Zero, Lane.Zero);
        for (var group = 0; group < Groups; group++)
        {
            var inverse = SubBlocks.Reciprocal(scales[group] * step);
            for (var i = group * Length; i < (group + 1) * Length; i++)
            {
                var multiple = SubBlocks.Code(x[i], inverse, -zero, zero - Lane.One) * scales[group];
                var weighted = multiple * w[i];
                products = Vector256.FusedMultiplyAdd(weighted, x[i], products);
                squares = Vector256.FusedMultiplyAdd(weighted, multiple, squares);
            }
        }

        var fitted = SubBlocks.Sum(products) / SubBlocks.Sum(squares);
        return SubBlocks.FitsHalf(MathF.Abs(fitted)) ? SubBlocks.ToHalf(fitted) : step;
    }
}
