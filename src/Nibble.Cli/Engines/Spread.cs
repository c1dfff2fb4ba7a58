namespace Nibble.Cli.Engines;

/// <summary>What repeated measurements of one thing gave.</summary>
/// <param name="Median">The middle one, or the mean of the two in the middle.</param>
/// <param name="Low">The lowest.</param>
/// <param name="High">The highest.</param>
internal readonly record struct Spread(double Median, double Low, double High)
{
    /// <summary>The spread of at least one value.</summary>
    public static Spread Of(IEnumerable<double> values)
    {
        var sorted = values.Order().ToList();
        return new Spread((sorted[(sorted.Count - 1) / 2] + sorted[sorted.Count / 2]) / 2, sorted[0], sorted[^1]);
    }
}
