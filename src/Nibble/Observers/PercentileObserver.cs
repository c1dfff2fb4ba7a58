using System.Globalization;
using Nibble.Numerics;

namespace Nibble.Observers;

/// <summary>The range that holds a given percentage of the values and excludes equally many at each end.</summary>
/// <remarks>
/// Each end excludes at most <c>floor(count * (100 - percentile) / 200)</c> values, so that the percentage also holds for one-sided
/// values. Values are assumed to be evenly spread inside a bin of the histogram. If only zeros would remain (an activation
/// that is nearly always zero), nothing is excluded, because a range of zero width would erase everything the activation carries.
/// </remarks>
internal sealed class PercentileObserver : HistogramObserver
{
    /// <summary>Creates an observer.</summary>
    /// <param name="percentile">The percentage of the values to keep, above 50 and at most 100.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="percentile"/> is out of range.</exception>
    public PercentileObserver(double percentile = 99.99)
    {
        if (percentile is not (> 50 and <= 100))
        {
            throw new ArgumentOutOfRangeException(nameof(percentile), percentile, "A percentile to keep must be above 50 and at most 100.");
        }

        Percentile = percentile;
    }

    /// <summary>The percentage of the values to keep.</summary>
    public double Percentile { get; }

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"a percentile observer ({Percentile})");

    private protected override bool IsSetUpLike(HistogramObserver other) => other is PercentileObserver observer && observer.Percentile == Percentile;

    private protected override ValueRange Range(StreamingHistogram seen, QuantizationScheme scheme)
    {
        var excess = (long)Math.Floor(seen.Count * ((100 - Percentile) / 200));
        if (excess == 0)
        {
            return seen.Range;
        }

        var bins = seen.Bins().ToList();
        if (seen.Zeros > 0)
        {
            var above = bins.FindIndex(bin => bin.Low >= 0);
            bins.Insert(above < 0 ? bins.Count : above, new HistogramBin(0, 0, seen.Zeros));
        }

        var range = new ValueRange(
            (float)Cut(bins, excess, bin => (bin.Low, bin.High)),
            (float)Cut(Enumerable.Reverse(bins), excess, bin => (bin.High, bin.Low)));
        return range is { Min: 0, Max: 0 } ? seen.Range : range;
    }

    /// <summary>The inner end of the excluded values, walking inwards from one end of the histogram.</summary>
    private static double Cut(IEnumerable<HistogramBin> inwards, long excess, Func<HistogramBin, (double Outer, double Inner)> edges)
    {
        foreach (var bin in inwards)
        {
            if (excess < bin.Count)
            {
                var (outer, inner) = edges(bin);
                return outer + ((inner - outer) * excess / bin.Count);
            }

            excess -= bin.Count;
        }

        throw new System.Diagnostics.UnreachableException("Each end excludes less than half of the values.");
    }
}
