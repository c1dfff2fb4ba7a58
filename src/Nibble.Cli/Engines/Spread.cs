namespace Nibble.Cli.Engines;

/// <summary>The median and quartiles of repeated measurements. Half of the measurements lie between the quartiles, which single outliers do not move.</summary>
/// <param name="Median">The middle value, or the mean of the two middle ones.</param>
/// <param name="Low">The lower quartile.</param>
/// <param name="High">The upper quartile.</param>
internal readonly record struct Spread(double Median, double Low, double High)
{
    /// <summary>The spread of at least one value; quartiles between two values are interpolated (Hyndman and Fan 1996, definition 7).</summary>
    public static Spread Of(IEnumerable<double> values)
    {
        var sorted = values.Order().ToList();
        return new Spread(Quantile(0.5), Quantile(0.25), Quantile(0.75));

        double Quantile(double share)
        {
            var place = share * (sorted.Count - 1);
            var (below, above) = (sorted[(int)place], sorted[(int)Math.Ceiling(place)]);
            return below + ((above - below) * (place - Math.Floor(place)));
        }
    }
}
