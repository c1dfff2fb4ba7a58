using Nibble.Numerics;

namespace Nibble.Observers;

/// <summary>The clipped range with the least squared quantization error over a histogram of the values.</summary>
/// <remarks>
/// Values are assumed to be evenly spread inside a bin, and the error of a bin is the integral over it, in closed form. No bin is
/// rounded to one code. The ends are tried at 57 factors each, from 1 down to 1/128 (eight to an octave): together in symmetric
/// schemes, independently in asymmetric ones.
/// </remarks>
internal sealed class MseObserver : HistogramObserver
{
    /// <inheritdoc/>
    public override string ToString() => "a squared-error observer";

    private protected override ValueRange Range(StreamingHistogram seen, QuantizationScheme scheme)
    {
        var bins = seen.Bins();
        return ClippedRanges.Least(seen.Range, scheme, (_, parameters) => SquaredError(bins, parameters, scheme.Codes));
    }

    /// <summary>The expected squared error of the values in bins.</summary>
    internal static double SquaredError(ReadOnlySpan<HistogramBin> bins, QuantizationParameters parameters, CodeRange codes)
    {
        double scale = parameters.Scale;
        var stepsPerUnit = 1 / scale;
        double lowest = codes.Min - parameters.ZeroPoint;
        double highest = codes.Max - parameters.ZeroPoint;
        var error = 0d;
        var (edge, integralToEdge) = (0d, 0d);
        foreach (var bin in bins)
        {
            if (bin.High == bin.Low)
            {
                var difference = scale * Rest(bin.Low, out _);
                error += bin.Count * difference * difference;
                continue;
            }

            // Most bins begin where the previous bin ends.
            var below = bin.Low == edge ? integralToEdge : Integral(bin.Low);
            (edge, integralToEdge) = (bin.High, Integral(bin.High));
            error += bin.Count * (integralToEdge - below) / (bin.High - bin.Low);
        }

        return error;

        // The difference between a value and its code's value, in steps.
        double Rest(double value, out double code)
        {
            var steps = value * stepsPerUnit;
            code = Math.Min(Math.Max(Math.Round(steps), lowest), highest);
            return steps - code;
        }

        // The integral of the squared error from 0 to a point: scale^3 / 12 for each whole step around a code, plus the rest of the last step.
        double Integral(double value)
        {
            var rest = Rest(value, out var code);
            return scale * scale * scale * ((code / 12) + (rest * rest * rest / 3));
        }
    }
}
