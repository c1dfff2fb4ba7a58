using System.Diagnostics;
using Nibble.Numerics;

namespace Nibble.Observers;

/// <summary>A bin that holds values.</summary>
/// <param name="Low">Its lower end.</param>
/// <param name="High">Its upper end; equal to <paramref name="Low"/> only if all its values are equal.</param>
/// <param name="Count">The number of values it holds, at least 1.</param>
internal readonly record struct HistogramBin(double Low, double High, long Count);

/// <summary>Counts of values in 4,096 bins, half of them on each side of zero, whose width doubles when a value does not fit.</summary>
/// <remarks>
/// Bin i holds the values from <c>i * width</c> up to but not including <c>(i + 1) * width</c>, and the width is the least power of two
/// for which all values fit. Doubling the width joins whole bins 2i and 2i + 1, so that no count is lost or split. The
/// state depends only on the values: it is the same for any order of values and any merging of observers. The
/// larger side uses more than half of its 2,048 bins. Zeros are counted separately, because every scheme represents them exactly.
/// </remarks>
internal sealed class StreamingHistogram
{
    private const int BinsPerSide = 2048;

    /// <summary>All values of binary32 are multiples of 2^-149.</summary>
    private const int MinExponent = -149;

    private readonly long[] counts = new long[2 * BinsPerSide];
    private int exponent = MinExponent;

    public long Count { get; private set; }

    public long NonFiniteCount { get; private set; }

    public long Zeros { get; private set; }

    /// <summary>The lowest and the highest value; (+infinity, -infinity) if there is none.</summary>
    public ValueRange Range { get; private set; } = new(float.PositiveInfinity, float.NegativeInfinity);

    public double BinWidth => Math.ScaleB(1, exponent);

    public void Observe(ReadOnlySpan<float> values)
    {
        var seen = Quantizer.Measure(values);
        NonFiniteCount += seen.NonFiniteCount;
        Count += values.Length - seen.NonFiniteCount;
        if (seen.NonFiniteCount == values.Length)
        {
            return;
        }

        Widen(seen.Range);
        // Multiplying by a power of two is exact in binary64.
        var binsPerUnit = Math.ScaleB(1, -exponent);
        foreach (var value in values)
        {
            if (value == 0)
            {
                Zeros++;
            }
            else if (float.IsFinite(value))
            {
                counts[(int)Math.Floor(value * binsPerUnit) + BinsPerSide]++;
            }
        }
    }

    public void Merge(StreamingHistogram other)
    {
        Count += other.Count;
        NonFiniteCount += other.NonFiniteCount;
        Zeros += other.Zeros;
        if (other.Count == 0)
        {
            return;
        }

        Widen(other.Range);
        var shift = exponent - other.exponent;
        Debug.Assert(shift >= 0, "The range includes the other's, so the width is at least the other's.");
        for (var i = 0; i < counts.Length; i++)
        {
            counts[Coarser(i, shift)] += other.counts[i];
        }
    }

    /// <summary>The non-empty bins from low to high, without the zeros. The outer bins end at the lowest and the highest value.</summary>
    public HistogramBin[] Bins()
    {
        var bins = new List<HistogramBin>();
        for (var i = 0; i < counts.Length; i++)
        {
            if (counts[i] > 0)
            {
                var low = (i - BinsPerSide) * BinWidth;
                bins.Add(new HistogramBin(Math.Max(low, Range.Min), Math.Min(low + BinWidth, Range.Max), counts[i]));
            }
        }

        return [.. bins];
    }

    private void Widen(ValueRange range)
    {
        Range = new ValueRange(Math.Min(Range.Min, range.Min), Math.Max(Range.Max, range.Max));
        var needed = exponent;
        while (Math.Floor(Math.ScaleB(Range.Max, -needed)) >= BinsPerSide || Math.Floor(Math.ScaleB(Range.Min, -needed)) < -BinsPerSide)
        {
            needed++;
        }

        if (needed == exponent)
        {
            return;
        }

        var fine = (long[])counts.Clone();
        Array.Clear(counts);
        for (var i = 0; i < fine.Length; i++)
        {
            counts[Coarser(i, needed - exponent)] += fine[i];
        }

        exponent = needed;
    }

    /// <summary>The index of a bin's values after the width has doubled a number of times.</summary>
    private static int Coarser(int index, int doublings) => ((index - BinsPerSide) >> Math.Min(doublings, 31)) + BinsPerSide;
}
