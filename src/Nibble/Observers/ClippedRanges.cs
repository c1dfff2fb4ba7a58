using Nibble.Numerics;

namespace Nibble.Observers;

/// <summary>Searches the clipped ranges of a histogram for the one with the least loss.</summary>
/// <remarks>
/// Each end is multiplied by 57 factors: 16/16, 15/16, ... 9/16, the same halved, and so on to 1/128. All are exact in binary. Symmetric
/// schemes clip both ends to one magnitude. Asymmetric schemes clip them separately (3,249 ranges if the values have both
/// signs). Among equals the widest range wins, and the lower end takes precedence.
/// </remarks>
internal static class ClippedRanges
{
    private const int Octaves = 7;
    private const int FactorsPerOctave = 8;

    private static readonly double[] Factors = [.. Enumerable.Range(0, (Octaves * FactorsPerOctave) + 1).Select(Factor)];

    public static ValueRange Least(ValueRange full, QuantizationScheme scheme, Func<ValueRange, QuantizationParameters, double> loss)
    {
        var best = full;
        var least = double.PositiveInfinity;
        foreach (var range in Candidates(full, scheme.Symmetric))
        {
            var found = loss(range, QuantizationParameters.FromRange(range, scheme));
            if (found < least)
            {
                (best, least) = (range, found);
            }
        }

        return best;
    }

    private static IEnumerable<ValueRange> Candidates(ValueRange full, bool symmetric)
    {
        var (min, max) = (Math.Min(full.Min, 0), Math.Max(full.Max, 0));
        if (symmetric)
        {
            double magnitude = Math.Max(-min, max);
            return Factors.Select(factor => new ValueRange((float)Math.Max(min, -magnitude * factor), (float)Math.Min(max, magnitude * factor)));
        }

        return
            from low in min < 0 ? Factors : [1]
            from high in max > 0 ? Factors : [1]
            select new ValueRange((float)(min * low), (float)(max * high));
    }

    private static double Factor(int index) =>
        Math.ScaleB((2 * FactorsPerOctave) - (index % FactorsPerOctave), -(index / FactorsPerOctave)) / (2 * FactorsPerOctave);
}
