namespace Nibble.Planning;

/// <summary>How similarly two measures order the same items.</summary>
internal static class RankCorrelation
{
    /// <summary>Spearman's rank correlation: Pearson's correlation of the ranks, where equal values share the mean of their ranks (Spearman 1904).</summary>
    /// <param name="first">Finite values.</param>
    /// <param name="second">The same number of values, for the same items.</param>
    /// <returns>-1 to 1; NaN if all values of one measure are equal.</returns>
    /// <exception cref="ArgumentException">The numbers of values differ.</exception>
    public static double Spearman(IReadOnlyList<double> first, IReadOnlyList<double> second)
    {
        ArgumentNullException.ThrowIfNull(first);
        ArgumentNullException.ThrowIfNull(second);
        if (first.Count != second.Count)
        {
            throw new ArgumentException($"There are {first.Count} and {second.Count} values, expected the same number of each.", nameof(second));
        }

        var (x, y) = (Ranks(first), Ranks(second));
        var mean = (first.Count + 1) / 2d;
        double products = 0, squaresX = 0, squaresY = 0;
        for (var i = 0; i < x.Length; i++)
        {
            products += (x[i] - mean) * (y[i] - mean);
            squaresX += (x[i] - mean) * (x[i] - mean);
            squaresY += (y[i] - mean) * (y[i] - mean);
        }

        return products / Math.Sqrt(squaresX * squaresY);
    }

    private static double[] Ranks(IReadOnlyList<double> values)
    {
        var order = Enumerable.Range(0, values.Count).OrderBy(i => values[i]).ToArray();
        var ranks = new double[values.Count];
        for (var first = 0; first < order.Length;)
        {
            var end = first + 1;
            while (end < order.Length && values[order[end]] == values[order[first]])
            {
                end++;
            }

            // Ranks count from 1. The ranks of equal values are averaged.
            foreach (var i in order[first..end])
            {
                ranks[i] = (first + 1 + end) / 2d;
            }

            first = end;
        }

        return ranks;
    }
}
