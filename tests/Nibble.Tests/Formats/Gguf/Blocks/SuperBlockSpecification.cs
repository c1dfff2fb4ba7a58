using Nibble.Formats.Gguf.Blocks;

namespace Nibble.Tests.Formats.Gguf.Blocks;

/// <summary>What <see cref="AffineSearch"/> and <see cref="SymmetricSearch"/> compute, one sub-block after the other in plain numbers: the specification of
/// both.</summary>
internal static class SuperBlockSpecification
{
    private const int Lanes = 8;

    /// <summary>A sub-block alone.</summary>
    public readonly record struct Fit(float Scale, float Minimum, float MeanCode, float Squares, float Weight, float Error);

    public static (float Scale, float Minimum) Affine(float[] values, float[] weights, AffineGrid grid, int[] scales, int[] minimums, int[] codes)
    {
        var subs = Enumerable.Range(0, values.Length / grid.Length)
            .Select(i => (X: values[(i * grid.Length)..((i + 1) * grid.Length)], W: weights[(i * grid.Length)..((i + 1) * grid.Length)])).ToArray();
        var fits = Array.ConvertAll(subs, sub => AffineSub(sub.X, sub.W, grid.LastCode, grid.Tries, belowZero: true));
        var start = (
            Scale: StepSpecification.Find(Array.ConvertAll(fits, fit => fit.Scale), Array.ConvertAll(fits, fit => fit.Squares),
                fits.Max(fit => fit.Scale), 0, grid.LastStep),
            Minimum: StepSpecification.Find(Array.ConvertAll(fits, fit => -fit.Minimum), Array.ConvertAll(fits, fit => fit.Weight),
                fits.Max(fit => -fit.Minimum), 0, grid.LastStep));
        var (best, least) = (start, float.PositiveInfinity);
        var chosen = new (float Error, float Scale, float Minimum)[subs.Length];
        Improve(start);
        if (least > StepChoice.Strained * Total(fits.Select(fit => fit.Error)))
        {
            for (var other = 1; other < 25; other++)
            {
                Improve((StepSpecification.Other(start.Scale, grid.LastStep, other % 5), StepSpecification.Other(start.Minimum, grid.LastStep, other / 5)));
            }
        }

        for (var i = 0; i < values.Length; i++)
        {
            var (_, scale, minimum) = chosen[i / grid.Length];
            codes[i] = (int)Code(values[i] + (minimum * best.Minimum), Reciprocal(scale * best.Scale), 0, grid.LastCode);
            (scales[i / grid.Length], minimums[i / grid.Length]) = ((int)scale, (int)minimum);
        }

        var stretch = Stretch(values, weights, i => i / grid.Length % Lanes,
            i => (codes[i] * (scales[i / grid.Length] * best.Scale)) - (minimums[i / grid.Length] * best.Minimum));
        return (StepSpecification.Stretch(best.Scale, stretch), StepSpecification.Stretch(best.Minimum, stretch));

        void Improve((float Scale, float Minimum) steps)
        {
            var before = float.PositiveInfinity;
            for (var round = 0; round < 2; round++)
            {
                var trial = subs.Select((sub, i) => ChooseAffine(sub.X, sub.W, grid, fits[i], steps)).ToArray();
                var error = Total(trial.Select(sub => sub.Error));
                if (error >= before)
                {
                    return;
                }

                before = error;
                (best, least, chosen) = error < least ? (steps, error, trial) : (best, least, chosen);
                steps = RefitAffine(subs, grid, trial, steps);
            }
        }
    }

    public static float Symmetric(float[] values, float[] weights, SymmetricGrid grid, int[] scales, int[] codes)
    {
        const int Length = 16;
        var subs = Enumerable.Range(0, values.Length / Length)
            .Select(i => (X: values[(i * Length)..((i + 1) * Length)], W: weights[(i * Length)..((i + 1) * Length)])).ToArray();
        var fits = Array.ConvertAll(subs, sub => SymmetricSub(sub.X, sub.W, grid.Zero, grid.Tries));
        var scaleOf = Array.ConvertAll(fits, fit => fit.Scale);
        var peak = scaleOf.Select((fit, i) => (Fit: fit, Lane: i % Lanes)).OrderBy(entry => entry.Lane)
            .Select(entry => entry.Fit).Aggregate(0f, (peak, fit) => MathF.Abs(fit) > MathF.Abs(peak) ? fit : peak);
        var costs = Array.ConvertAll(fits, fit => fit.Gain > 0 ? fit.Gain / (fit.Scale * fit.Scale) : 0);
        var start = StepSpecification.Find(scaleOf, costs, peak, -grid.ZeroStep, grid.ZeroStep - 1);
        var (best, least) = (start, float.PositiveInfinity);
        var chosen = new (float Error, float Scale)[subs.Length];
        Improve(start);
        if (least > StepChoice.Strained * Total(fits.Select(fit => fit.Error)))
        {
            for (var other = 1; other < 25; other++)
            {
                Improve(StepSpecification.Other(start, grid.ZeroStep, other));
                Improve(-StepSpecification.Other(start, grid.ZeroStep, other));
            }
        }

        for (var i = 0; i < values.Length; i++)
        {
            var scale = chosen[i / Length].Scale;
            codes[i] = (int)(Code(values[i], Reciprocal(scale * best), -grid.Zero, grid.Zero - 1) + grid.Zero);
            scales[i / Length] = (int)scale;
        }

        return StepSpecification.Stretch(best, Stretch(values, weights, i => i / Length % Lanes, i => (codes[i] - grid.Zero) * (scales[i / Length] * best)));

        void Improve(float step)
        {
            var before = float.PositiveInfinity;
            for (var round = 0; round < 2; round++)
            {
                var trial = subs.Select((sub, i) => ChooseSymmetric(sub.X, sub.W, grid, scaleOf[i], step)).ToArray();
                var error = Total(trial.Select(sub => sub.Error));
                if (error >= before)
                {
                    return;
                }

                before = error;
                (best, least, chosen) = error < least ? (step, error, trial) : (best, least, chosen);
                var (products, squares) = (new float[Lanes], new float[Lanes]);
                for (var i = 0; i < values.Length; i++)
                {
                    var (lane, scale) = (i / Length % Lanes, trial[i / Length].Scale);
                    var multiple = Code(values[i], Reciprocal(scale * step), -grid.Zero, grid.Zero - 1) * scale;
                    products[lane] = MathF.FusedMultiplyAdd(multiple * weights[i], values[i], products[lane]);
                    squares[lane] = MathF.FusedMultiplyAdd(multiple * weights[i], multiple, squares[lane]);
                }

                var fitted = Sum(products) / Sum(squares);
                step = MathF.Abs(fitted) is > 0 and <= 65504 ? (float)(Half)fitted : step;
            }
        }
    }

    /// <summary>By what a scale is to be multiplied, so that six tenths of what least squares take off the values' length are given back.</summary>
    public static float Stretch(float[] x, float[] w, Func<int, int> lane, Func<int, float> decoded)
    {
        var (squares, products) = (new float[Lanes], new float[Lanes]);
        for (var i = 0; i < x.Length; i++)
        {
            squares[lane(i)] = MathF.FusedMultiplyAdd(x[i] * w[i], x[i], squares[lane(i)]);
            products[lane(i)] = MathF.FusedMultiplyAdd(x[i] * w[i], decoded(i), products[lane(i)]);
        }

        return Sum(products) > 0 ? Math.Clamp(1 + (0.6f * ((Sum(squares) / Sum(products)) - 1)), 1, 1.1f) : 1;
    }

    public static Fit AffineSub(float[] x, float[] w, int lastCode, ScaleTries tries, bool belowZero)
    {
        var low = belowZero ? MathF.Min(x.Min(), 0) : x.Min();
        var range = x.Max() - low;
        var perRange = range > 1e-15f ? 1 / range : 0;
        var highest = belowZero ? -low : float.PositiveInfinity;
        var (total, sum, power) = (0f, 0f, 0f);
        for (var i = 0; i < x.Length; i++)
        {
            total += w[i];
            sum = MathF.FusedMultiplyAdd(w[i], x[i] - low, sum);
            power = MathF.FusedMultiplyAdd(w[i] * (x[i] - low), x[i] - low, power);
        }

        var offset = MathF.Min(sum / total, highest);
        var least = offset * ((offset * total) - (sum + sum));
        var (scale, mean, found) = (0f, 0f, 0f);
        for (var number = 0; number <= tries.Tries; number++)
        {
            var isTry = number < tries.Tries;
            var inverse = isTry ? (lastCode + tries.First + (tries.Step * number)) * perRange : Reciprocal(scale);
            var zero = isTry ? low : low + offset;
            var (codes, squares, products) = (0f, 0f, 0f);
            for (var i = 0; i < x.Length; i++)
            {
                var code = Code(x[i] - zero, inverse, 0, lastCode);
                codes += code * w[i];
                squares = MathF.FusedMultiplyAdd(code * w[i], code, squares);
                products = MathF.FusedMultiplyAdd(code * w[i], x[i] - low, products);
            }

            var determinant = (total * squares) - (codes * codes);
            var fittedScale = ((total * products) - (sum * codes)) / determinant;
            var fittedOffset = ((squares * sum) - (codes * products)) / determinant;
            if (fittedOffset > highest || determinant < total * squares * 1e-6f)
            {
                fittedOffset = highest;
                fittedScale = (products - (fittedOffset * codes)) / squares;
            }

            var error = (fittedScale * ((fittedScale * squares) + (2 * ((fittedOffset * codes) - products))))
                + (fittedOffset * ((fittedOffset * total) - (sum + sum)));
            if (error < least && fittedScale > 0)
            {
                (least, scale, offset, mean, found) = (error, fittedScale, fittedOffset, codes / total, squares);
            }
        }

        return new Fit(scale, low + offset, mean, found, total, MathF.Max(power + least, power * 1e-6f));
    }

    public static (float Scale, float Gain, float Error) SymmetricSub(float[] x, float[] w, int zero, ScaleTries tries)
    {
        var peak = x.Max() > -x.Min() ? x.Max() : x.Min();
        var perPeak = MathF.Abs(peak) > 1e-15f ? 1 / peak : 0;
        var (gain, scale) = (0f, 0f);
        for (var number = 0; number < tries.Tries; number++)
        {
            var distance = tries.First + (tries.Step * number);
            Try(-(zero + distance) * perPeak);
            Try((zero - 1 + distance) * perPeak);
        }

        if (2 * x.Min() > x.Max() || 2 * x.Max() < x.Min())
        {
            for (var number = 0; number < 4 * tries.Tries; number++)
            {
                var distance = tries.First + (tries.Step * number / 4);
                Try(-(zero + distance) * perPeak);
                Try((zero - 1 + distance) * perPeak);
            }
        }

        Try(Reciprocal(scale));
        var power = 0f;
        for (var i = 0; i < x.Length; i++)
        {
            power = MathF.FusedMultiplyAdd(x[i] * w[i], x[i], power);
        }

        return (scale, gain, MathF.Max(power - gain, power * 1e-6f));

        void Try(float inverse)
        {
            var (products, squares) = (0f, 0f);
            for (var i = 0; i < x.Length; i++)
            {
                var code = Code(x[i], inverse, -zero, zero - 1);
                products = MathF.FusedMultiplyAdd(code * w[i], x[i], products);
                squares = MathF.FusedMultiplyAdd(code * w[i], code, squares);
            }

            var fitted = products / squares;
            (gain, scale) = fitted * products > gain ? (fitted * products, fitted) : (gain, scale);
        }
    }

    private static (float Error, float Scale, float Minimum) ChooseAffine(float[] x, float[] w, AffineGrid grid, Fit fit, (float Scale, float Minimum) steps)
    {
        var center = MathF.Round(fit.Scale * Reciprocal(steps.Scale));
        var best = (Error: float.PositiveInfinity, Scale: 0f, Minimum: 0f);
        for (var offset = -1; offset <= 1; offset++)
        {
            var number = Math.Clamp(center + offset, 0, grid.LastStep);
            var scale = number * steps.Scale;
            var wanted = ((scale - fit.Scale) * fit.MeanCode) - fit.Minimum;
            var lower = Math.Clamp(MathF.Floor(wanted * Reciprocal(steps.Minimum)), 0, grid.LastStep);
            foreach (var minimum in (ReadOnlySpan<float>)[lower, Math.Min(lower + 1, grid.LastStep)])
            {
                var error = 0f;
                for (var i = 0; i < x.Length; i++)
                {
                    var value = x[i] + (minimum * steps.Minimum);
                    var rest = MathF.FusedMultiplyAdd(-scale, Code(value, Reciprocal(scale), 0, grid.LastCode), value);
                    error = MathF.FusedMultiplyAdd(rest * w[i], rest, error);
                }

                best = error < best.Error ? (error, number, minimum) : best;
            }
        }

        return best;
    }

    private static (float Scale, float Minimum) RefitAffine(
        (float[] X, float[] W)[] subs, AffineGrid grid, (float Error, float Scale, float Minimum)[] chosen, (float Scale, float Minimum) steps)
    {
        var sums = Enumerable.Range(0, 5).Select(_ => new float[Lanes]).ToArray();
        for (var sub = 0; sub < subs.Length; sub++)
        {
            var (lane, scale, minimum) = (sub % Lanes, chosen[sub].Scale, chosen[sub].Minimum);
            for (var i = 0; i < grid.Length; i++)
            {
                var (x, w) = (subs[sub].X[i], subs[sub].W[i]);
                var multiple = Code(x + (minimum * steps.Minimum), Reciprocal(scale * steps.Scale), 0, grid.LastCode) * scale;
                sums[0][lane] = MathF.FusedMultiplyAdd(multiple * w, multiple, sums[0][lane]);
                sums[1][lane] = MathF.FusedMultiplyAdd(multiple * w, minimum, sums[1][lane]);
                sums[2][lane] = MathF.FusedMultiplyAdd(minimum * w, minimum, sums[2][lane]);
                sums[3][lane] = MathF.FusedMultiplyAdd(multiple * w, x, sums[3][lane]);
                sums[4][lane] = MathF.FusedMultiplyAdd(minimum * w, x, sums[4][lane]);
            }
        }

        var (pp, pm, mm, px, mx) = (Sum(sums[0]), Sum(sums[1]), Sum(sums[2]), Sum(sums[3]), Sum(sums[4]));
        var determinant = (pp * mm) - (pm * pm);
        var (fittedScale, fittedMinimum) = mm > 0 ? (((px * mm) - (mx * pm)) / determinant, ((px * pm) - (mx * pp)) / determinant) : (px / pp, steps.Minimum);
        return fittedScale is > 0 and <= 65504 && (mm == 0 || fittedMinimum is > 0 and <= 65504) ? ((float)(Half)fittedScale, (float)(Half)fittedMinimum)
            : steps;
    }

    private static (float Error, float Scale) ChooseSymmetric(float[] x, float[] w, SymmetricGrid grid, float fit, float step)
    {
        var center = MathF.Round(fit * Reciprocal(step));
        var best = (Error: float.PositiveInfinity, Scale: 0f);
        for (var offset = -1; offset <= 1; offset++)
        {
            var number = Math.Clamp(center + offset, -grid.ZeroStep, grid.ZeroStep - 1);
            var (scale, error) = (number * step, 0f);
            for (var i = 0; i < x.Length; i++)
            {
                var rest = MathF.FusedMultiplyAdd(-scale, Code(x[i], Reciprocal(scale), -grid.Zero, grid.Zero - 1), x[i]);
                error = MathF.FusedMultiplyAdd(rest * w[i], rest, error);
            }

            best = offset < 0 || error < best.Error ? (error, number) : best;
        }

        return best;
    }

    public static float Code(float value, float inverse, int first, int last) => Math.Clamp(MathF.Round(value * inverse), first, last);

    public static float Reciprocal(float scale) => scale == 0 ? 0 : 1 / scale;

    /// <summary>Sums of every eighth number, and then their sum.</summary>
    public static float Total(IEnumerable<float> values) =>
        Sum([.. values.Index().GroupBy(entry => entry.Index % Lanes).Select(lane => lane.Aggregate(0f, (sum, entry) => sum + entry.Item))]);

    public static float Sum(float[] lanes) => (lanes[0] + lanes[4] + (lanes[2] + lanes[6])) + (lanes[1] + lanes[5] + (lanes[3] + lanes[7]));
}
