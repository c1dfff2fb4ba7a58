using System.Globalization;

namespace Nibble.Cli.Report;

/// <summary>An axis of a chart: the position of a value, and the values to mark.</summary>
internal sealed class ChartScale
{
    /// <summary>Losses below this, in nats, have a linear scale. Losses above have a logarithmic one.</summary>
    private const double LinearPart = 0.01;

    private const double Room = 0.07;

    private readonly Func<double, double> transform;
    private readonly double low;
    private readonly double high;

    private ChartScale(Func<double, double> transform, double low, double high, IEnumerable<double> ticks)
    {
        this.transform = transform;
        this.low = low;
        this.high = high;
        Ticks = [.. ticks.Where(tick => Position(tick) is >= -1e-9 and <= 1 + 1e-9)];
    }

    /// <summary>Whether the axis is linear everywhere.</summary>
    public bool IsLinear { get; private init; }

    /// <summary>The values to mark, in ascending order.</summary>
    public IReadOnlyList<double> Ticks { get; }

    /// <summary>The position of a value: 0 at the low end, 1 at the high end.</summary>
    public double Position(double value) => (transform(value) - low) / (high - low);

    /// <summary>The label of a mark.</summary>
    public static string Label(double tick) => tick.ToString(Math.Abs(tick) >= 1e5 ? "0e+0" : "0.#####", CultureInfo.InvariantCulture);

    /// <summary>A linear axis.</summary>
    /// <param name="values">The values that the axis must cover.</param>
    /// <param name="room">Space at both ends, as a share of the range of values.</param>
    public static ChartScale Linear(IEnumerable<double> values, double room = Room)
    {
        var (low, high) = Span(values, v => v, 0.5, room);
        var rough = (high - low) / 5;
        var decade = Math.Pow(10, Math.Floor(Math.Log10(rough)));
        var step = decade * ((rough / decade) switch { < 1.5 => 1, < 3.5 => 2, < 7.5 => 5, _ => 10 });
        var first = Math.Ceiling(low / step);
        var count = (int)(Math.Floor(high / step) - first) + 1;
        return new ChartScale(v => v, low, high, Enumerable.Range(0, count).Select(i => (first + i) * step)) { IsLinear = true };
    }

    /// <summary>A logarithmic axis. Values must be positive.</summary>
    public static ChartScale Logarithmic(IEnumerable<double> values)
    {
        var (low, high) = Span(values, Math.Log10, 0.2);
        var decades = Enumerable.Range((int)Math.Floor(low), (int)(Math.Ceiling(high) - Math.Floor(low)) + 1);
        double[] steps = (high - low) switch { < 0.7 => [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8], < 2.2 => [1, 2, 5], _ => [1] };
        return new ChartScale(Math.Log10, low, high, decades.SelectMany(decade => steps.Select(step => step * Math.Pow(10, decade))));
    }

    /// <summary>An axis for losses, which may be negative and span decades: linear around 0, logarithmic beyond.</summary>
    public static ChartScale Loss(IReadOnlyList<double> values)
    {
        if (values.All(v => Math.Abs(v) < 5 * LinearPart))
        {
            return Linear(values);
        }

        var (low, high) = Span(values, Transform, 0.2);
        double[] steps = high - low < 2.2 ? [1, 3] : [1];
        var beyond = Enumerable.Range(-2, 6).SelectMany(decade => steps.Select(step => step * Math.Pow(10, decade))).ToList();
        return new ChartScale(Transform, low, high, [.. beyond.AsEnumerable().Reverse().Select(v => -v), 0, .. beyond]);

        static double Transform(double v) => Math.Sign(v) * Math.Log10(1 + (Math.Abs(v) / LinearPart));
    }

    /// <summary>The ends of an axis, with some space; at least <paramref name="least"/> on both sides of a single value.</summary>
    private static (double Low, double High) Span(IEnumerable<double> values, Func<double, double> transform, double least, double share = Room)
    {
        var transformed = values.Select(transform).DefaultIfEmpty(0).ToList();
        var (low, high) = (transformed.Min(), transformed.Max());
        var room = high > low ? (high - low) * share : least;
        return (low - room, high + room);
    }
}
