namespace Nibble.Planning;

/// <summary>The loss after a training run of some length, whose learning rate fell to its final value.</summary>
/// <param name="Steps">Steps of the training, 1 or more.</param>
/// <param name="Loss">Nats per token, as a difference from a reference.</param>
/// <param name="Error">Its standard error.</param>
internal readonly record struct LengthPoint(int Steps, double Loss, double Error);

/// <summary>Predicts the result of a long training from short ones.</summary>
/// <remarks>
/// Each point is a separate training with a complete schedule. The first part of a long training predicts little, because most of the loss falls while the
/// learning rate does. Two quantities are smooth in the length n. The gap between a quantized model and the float control that saw the same
/// batches falls as b n^-p. The control itself follows a + s ln n, after an initial rise if the rate is too high for so few steps. The
/// exponent (or the slope) is averaged over a grid. Each value is weighted by its fit and by a broad prior, and the spread of the average is the
/// interval. docs/explanation/advisor.md compares this with measurements and with other forms.
/// </remarks>
internal static class LossCurve
{
    /// <summary>The effect of another seed, in nats, and as a share of the loss.</summary>
    private const double SeedNoise = 0.008;
    private const double SeedShare = 0.08;

    /// <summary>The uncertainty that a shorter training adds to the control's slope, in nats per e-fold.</summary>
    private const double Curvature = 0.01;

    private const double TypicalExponent = 0.2;
    private const double ExponentSpread = 0.12;
    private const double TypicalSlope = -0.03;
    private const double SlopeSpread = 0.1;

    /// <summary>The gap between a quantized model and the control after a number of steps.</summary>
    /// <param name="points">Short trainings, at least one.</param>
    /// <param name="steps">Steps of the long training, at least 1.</param>
    public static Estimate Gap(IReadOnlyList<LengthPoint> points, int steps) => Average(
        points, steps, Grid(0, 1.2), exponent => Square((exponent - TypicalExponent) / ExponentSpread), (exponent, n) => (0, Math.Pow(n, -exponent)),
        curvature: 0);

    /// <summary>The control's loss after a number of steps.</summary>
    /// <param name="points">Short trainings, at least one.</param>
    /// <param name="steps">Steps of the long training, at least 1.</param>
    public static Estimate Control(IReadOnlyList<LengthPoint> points, int steps) => Average(
        points, steps, Grid(-1, 0.2), slope => Square((slope - TypicalSlope) / SlopeSpread), (slope, n) => (slope * Math.Log(n), 1), Curvature);

    private static double[] Grid(double from, double to) => [.. Enumerable.Range(0, 101).Select(i => from + ((to - from) * i / 100))];

    /// <summary>Averages the forms offset + amplitude × factor over a parameter of both. The amplitude is a least-squares fit for each.</summary>
    private static Estimate Average(
        IReadOnlyList<LengthPoint> points, int steps, double[] parameters, Func<double, double> penalty, Func<double, int, (double Offset, double Factor)> form,
        double curvature)
    {
        ArgumentNullException.ThrowIfNull(points);
        ArgumentOutOfRangeException.ThrowIfZero(points.Count);
        ArgumentOutOfRangeException.ThrowIfLessThan(steps, 1);
        var longest = points.Max(point => point.Steps);
        var noise = points.Select(point =>
            Square(point.Error) + Square(SeedNoise) + Square(SeedShare * point.Loss) + Square(curvature * Math.Log((double)longest / point.Steps))).ToArray();
        var fits = parameters.Select(parameter =>
        {
            double information = 0, product = 0;
            for (var i = 0; i < points.Count; i++)
            {
                var (offset, factor) = form(parameter, points[i].Steps);
                information += factor * factor / noise[i];
                product += factor * (points[i].Loss - offset) / noise[i];
            }

            var amplitude = product / information;
            var misfit = points.Select((point, i) =>
            {
                var (offset, factor) = form(parameter, point.Steps);
                return Square(point.Loss - offset - (amplitude * factor)) / noise[i];
            }).Sum();
            var (shift, scale) = form(parameter, steps);
            return (Mean: shift + (amplitude * scale), Variance: scale * scale / information, Cost: misfit + penalty(parameter));
        }).ToList();
        var least = fits.Min(fit => fit.Cost);
        var weights = fits.ConvertAll(fit => Math.Exp((least - fit.Cost) / 2));
        var sum = weights.Sum();
        var mean = fits.Zip(weights, (fit, weight) => fit.Mean * weight).Sum() / sum;
        var variance = fits.Zip(weights, (fit, weight) => (fit.Variance + Square(fit.Mean - mean)) * weight).Sum() / sum;
        return Estimate.Around(mean, Estimate.Errors * Math.Sqrt(variance + Square(SeedNoise) + Square(SeedShare * mean)));
    }

    private static double Square(double value) => value * value;
}
