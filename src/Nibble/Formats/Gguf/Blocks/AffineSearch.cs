using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Lane = System.Runtime.Intrinsics.Vector256<float>;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>A super-block of sub-blocks whose scales and minimums are whole numbers of steps: <c>value = scaleStep * s * code - minimumStep *
/// m</c>.</summary>
/// <param name="Length">The number of values in a sub-block.</param>
/// <param name="LastCode">The largest code.</param>
/// <param name="LastStep">The largest <c>s</c> and <c>m</c>.</param>
/// <param name="Tries">The scales to try.</param>
internal sealed record AffineGrid(int Length, int LastCode, int LastStep, ScaleTries Tries);

/// <summary>Finds the steps, scales, minimums and codes of a super-block that give a low weighted squared error.</summary>
/// <remarks>
/// Sub-blocks are first fitted separately, and <see cref="StepChoice"/> finds the steps. Each sub-block then takes the pair of whole numbers near its
/// fitted scale and minimum that gives the least error. Linear regression over the whole super-block then refits both steps to those numbers, and the
/// numbers are chosen once more.
/// </remarks>
internal static class AffineSearch
{
    private const int Rounds = 2;

    /// <summary>Searches a super-block.</summary>
    /// <param name="values">256 finite values.</param>
    /// <param name="weights">The weights of the squared errors, above 0; empty for equal weights.</param>
    /// <param name="grid">The grid of the block.</param>
    /// <param name="scales">Receives <c>s</c> of each sub-block.</param>
    /// <param name="minimums">Receives <c>m</c> of each sub-block.</param>
    /// <param name="codes">Receives 256 codes.</param>
    /// <returns>Both steps, as binary16 values.</returns>
    public static (float Scale, float Minimum) Run(
        ReadOnlySpan<float> values, ReadOnlySpan<float> weights, AffineGrid grid, Span<byte> scales, Span<byte> minimums, Span<byte> codes)
    {
        Span<Lane> x = stackalloc Lane[SubBlocks.Vectors];
        Span<Lane> w = stackalloc Lane[SubBlocks.Vectors];
        SubBlocks.Split(values, grid.Length, x);
        SubBlocks.Split(weights, grid.Length, w);

        var groups = SubBlocks.Vectors / grid.Length;
        Span<AffineFit> fits = stackalloc AffineFit[groups];
        Span<Lane> sizes = stackalloc Lane[2 * groups];
        Span<Lane> costs = stackalloc Lane[2 * groups];
        var (largest, deepest, unavoidable) = (Lane.Zero, Lane.Zero, Lane.Zero);
        for (var group = 0; group < groups; group++)
        {
            fits[group] = AffineFit.Find(
                x.Slice(group * grid.Length, grid.Length), w.Slice(group * grid.Length, grid.Length), grid.LastCode, grid.Tries, belowZero: true);
            (sizes[group], sizes[groups + group]) = (fits[group].Scale, -fits[group].Minimum);
            (costs[group], costs[groups + group]) = (fits[group].Squares, fits[group].Weight);
            largest = Vector256.MaxNative(largest, sizes[group]);
            deepest = Vector256.MaxNative(deepest, sizes[groups + group]);
            unavoidable += fits[group].Error;
        }

        var steps = (
            Scale: StepChoice.Find(sizes[..groups], costs[..groups], SubBlocks.Peak(largest), 0, grid.LastStep),
            Minimum: StepChoice.Find(sizes[groups..], costs[groups..], SubBlocks.Peak(deepest), 0, grid.LastStep));
        Span<Lane> chosen = stackalloc Lane[2 * groups];
        Span<Lane> trial = stackalloc Lane[2 * groups];
        var (best, least) = (steps, float.PositiveInfinity);
        Improve(x, w, grid, fits, steps, chosen, trial, ref best, ref least);
        if (least > StepChoice.Strained * SubBlocks.Sum(unavoidable))
        {
            TryOthers(x, w, grid, fits, steps, chosen, trial, ref best, ref least);
        }

        var (squares, products) = (Lane.Zero, Lane.Zero);
        for (var group = 0; group < groups; group++)
        {
            Write(x.Slice(group * grid.Length, grid.Length), w.Slice(group * grid.Length, grid.Length), grid,
                chosen[group] * best.Scale, chosen[groups + group] * best.Minimum, ref squares, ref products);
            SubBlocks.Narrow(chosen[group]).AsByte().CopyTo(scales[(SubBlocks.Lanes * group)..]);
            SubBlocks.Narrow(chosen[groups + group]).AsByte().CopyTo(minimums[(SubBlocks.Lanes * group)..]);
        }

        SubBlocks.Join(x, grid.Length, codes);
        var stretch = SubBlocks.Stretch(SubBlocks.Sum(squares), SubBlocks.Sum(products));
        return (StepChoice.Stretch(best.Scale, stretch), StepChoice.Stretch(best.Minimum, stretch));
    }

    /// <summary>Tries steps that give the largest scale and minimum smaller numbers, which may represent the others better.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void TryOthers(
        ReadOnlySpan<Lane> x, ReadOnlySpan<Lane> w, AffineGrid grid, ReadOnlySpan<AffineFit> fits, (float Scale, float Minimum) steps,
        Span<Lane> chosen, Span<Lane> trial, ref (float Scale, float Minimum) best, ref float least)
    {
        for (var other = 1; other < StepChoice.Others * StepChoice.Others; other++)
        {
            var scale = StepChoice.Other(steps.Scale, grid.LastStep, other % StepChoice.Others);
            var minimum = StepChoice.Other(steps.Minimum, grid.LastStep, other / StepChoice.Others);
            Improve(x, w, grid, fits, (scale, minimum), chosen, trial, ref best, ref least);
        }
    }

    /// <summary>Chooses whole numbers for given steps, refits the steps, and chooses once more. Keeps the result if it improves on the best so
    /// far.</summary>
    private static void Improve(
        ReadOnlySpan<Lane> x, ReadOnlySpan<Lane> w, AffineGrid grid, ReadOnlySpan<AffineFit> fits, (float Scale, float Minimum) steps,
        Span<Lane> chosen, Span<Lane> trial, ref (float Scale, float Minimum) best, ref float least)
    {
        var groups = fits.Length;
        var before = float.PositiveInfinity;
        for (var round = 0; round < Rounds; round++)
        {
            var errors = Lane.Zero;
            for (var group = 0; group < groups; group++)
            {
                errors += Choose(x.Slice(group * grid.Length, grid.Length), w.Slice(group * grid.Length, grid.Length), grid, fits[group], steps,
                    out trial[group], out trial[groups + group]);
            }

            var error = SubBlocks.Sum(errors);
            if (error >= before)
            {
                return;
            }

            before = error;
            if (error < least)
            {
                (best, least) = (steps, error);
                trial.CopyTo(chosen);
            }

            steps = round + 1 < Rounds ? Refit(x, w, grid, trial[..groups], trial[groups..], steps) : steps;
        }
    }

    /// <summary>Chooses the best whole numbers of steps near each sub-block's fitted scale and minimum.</summary>
    /// <returns>The squared errors.</returns>
    private static Lane Choose(
        ReadOnlySpan<Lane> x, ReadOnlySpan<Lane> w, AffineGrid grid, in AffineFit fit, (float Scale, float Minimum) steps, out Lane scales, out Lane minimums)
    {
        var last = Vector256.Create((float)grid.LastStep);
        var center = Vector256.Round(fit.Scale * Rounding.Reciprocal(steps.Scale));
        var perMinimum = Rounding.Reciprocal(steps.Minimum);
        var least = Vector256.Create(float.PositiveInfinity);
        (scales, minimums) = (Lane.Zero, Lane.Zero);
        for (var offset = -1; offset <= 1; offset++)
        {
            var number = Vector256.MinNative(Vector256.MaxNative(center + Vector256.Create((float)offset), Lane.Zero), last);
            var scale = number * steps.Scale;

            // The mean code predicts the best minimum for this scale, which falls between two steps.
            var wanted = ((scale - fit.Scale) * fit.MeanCode) - fit.Minimum;
            var lower = Vector256.MinNative(Vector256.MaxNative(Vector256.Floor(wanted * perMinimum), Lane.Zero), last);
            var upper = Vector256.MinNative(lower + Lane.One, last);
            var (lowerError, upperError) = Errors(x, w, grid, scale, lower * steps.Minimum, upper * steps.Minimum);
            Take(lowerError, number, lower, ref least, ref scales, ref minimums);
            Take(upperError, number, upper, ref least, ref scales, ref minimums);
        }

        return least;
    }

    private static void Take(Lane error, Lane scale, Lane minimum, ref Lane least, ref Lane scales, ref Lane minimums)
    {
        var better = Vector256.LessThan(error, least);
        least = Vector256.ConditionalSelect(better, error, least);
        scales = Vector256.ConditionalSelect(better, scale, scales);
        minimums = Vector256.ConditionalSelect(better, minimum, minimums);
    }

    /// <summary>The squared errors for a scale with each of two minimums.</summary>
    private static (Lane First, Lane Second) Errors(
        ReadOnlySpan<Lane> x, ReadOnlySpan<Lane> w, AffineGrid grid, Lane scale, Lane firstMinimum, Lane secondMinimum)
    {
        var (inverse, last) = (SubBlocks.Reciprocal(scale), Vector256.Create((float)grid.LastCode));
        var (first, second) = (Lane.Zero, Lane.Zero);
        for (var i = 0; i < x.Length; i++)
        {
            var value = x[i] + firstMinimum;
            var rest = Vector256.FusedMultiplyAdd(-scale, SubBlocks.Code(value, inverse, Lane.Zero, last), value);
            first = Vector256.FusedMultiplyAdd(rest * w[i], rest, first);
            value = x[i] + secondMinimum;
            rest = Vector256.FusedMultiplyAdd(-scale, SubBlocks.Code(value, inverse, Lane.Zero, last), value);
            second = Vector256.FusedMultiplyAdd(rest * w[i], rest, second);
        }

        return (first, second);
    }

    /// <summary>The steps that fit the codes best if binary16 can hold them; otherwise the current steps.</summary>
    private static (float Scale, float Minimum) Refit(
        ReadOnlySpan<Lane> x, ReadOnlySpan<Lane> w, AffineGrid grid, ReadOnlySpan<Lane> scales, ReadOnlySpan<Lane> minimums, (float Scale, float Minimum) steps)
    {
        // With p = s * code, sums over all values of w p^2, w p m, w m^2, w p x and w m x.
        var (squares, mixed, depths, products, depthProducts) = (Lane.Zero, Lane.Zero, Lane.Zero, Lane.Zero, Lane.Zero);
        var last = Vector256.Create((float)grid.LastCode);
        for (var group = 0; group < scales.Length; group++)
        {
            var (inverse, minimum) = (SubBlocks.Reciprocal(scales[group] * steps.Scale), minimums[group] * steps.Minimum);
            for (var i = group * grid.Length; i < (group + 1) * grid.Length; i++)
            {
                var multiple = SubBlocks.Code(x[i] + minimum, inverse, Lane.Zero, last) * scales[group];
                var (weighted, depth) = (multiple * w[i], minimums[group] * w[i]);
                squares = Vector256.FusedMultiplyAdd(weighted, multiple, squares);
                mixed = Vector256.FusedMultiplyAdd(weighted, minimums[group], mixed);
                depths = Vector256.FusedMultiplyAdd(depth, minimums[group], depths);
                products = Vector256.FusedMultiplyAdd(weighted, x[i], products);
                depthProducts = Vector256.FusedMultiplyAdd(depth, x[i], depthProducts);
            }
        }

        var (pp, pm, mm, px, mx) = (SubBlocks.Sum(squares), SubBlocks.Sum(mixed), SubBlocks.Sum(depths), SubBlocks.Sum(products), SubBlocks.Sum(depthProducts));
        var determinant = (pp * mm) - (pm * pm);
        var (scale, fittedMinimum) = mm > 0 ? (((px * mm) - (mx * pm)) / determinant, ((px * pm) - (mx * pp)) / determinant) : (px / pp, steps.Minimum);
        return SubBlocks.FitsHalf(scale) && (mm == 0 || SubBlocks.FitsHalf(fittedMinimum)) ? (SubBlocks.ToHalf(scale), SubBlocks.ToHalf(fittedMinimum)) : steps;
    }

    /// <summary>Replaces values with codes, and sums the values' squares and their products with the dequantized values.</summary>
    private static void Write(Span<Lane> x, ReadOnlySpan<Lane> w, AffineGrid grid, Lane scale, Lane minimum, ref Lane squares, ref Lane products)
    {
        var (inverse, last) = (SubBlocks.Reciprocal(scale), Vector256.Create((float)grid.LastCode));
        for (var i = 0; i < x.Length; i++)
        {
            var code = SubBlocks.Code(x[i] + minimum, inverse, Lane.Zero, last);
            var weighted = x[i] * w[i];
            squares = Vector256.FusedMultiplyAdd(weighted, x[i], squares);
            products = Vector256.FusedMultiplyAdd(weighted, (code * scale) - minimum, products);
            x[i] = code;
        }
    }
}
