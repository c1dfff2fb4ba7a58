namespace Nibble.Planning;

/// <summary>How far two measures put the same things into the same order.</summary>
internal static class RankCorrelation
{
    /// <summary>Spearman's rank correlation: Pearson's correlation of the ranks, equal values sharing the mean of theirs (Spearman 1904).</summary>
    /// <param name="first">Finite values.</param>
    /// <param name="second">As many of the same things.</param>
    /// <returns>-1 to 1; NaN where one of the measures has the same value everywhere.</returns>
    /// <exception cref="ArgumentException">There are not as many values of each.</exception>
    public static double Spearman(IReadOnlyList<double> first, IReadOnlyList<double> second)
    {
        ArgumentNullException.ThrowIfNull(first);
        ArgumentNullException.ThrowIfNull(second);
        if (first.Count != second.Count)
        {
            throw new ArgumentException($"There are {first.Count} and {second.Count} values, expected as many of each.", nameof(second));
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

            // Ranks count from 1; those of equal values are averaged.
            foreach (var i in order[first..end])
            {
                ranks[i] = (first + 1 + end) / 2d;
            }

            first = end;
        }

        return ranks;
    }
}
