using System.Globalization;

namespace Nibble.Cli.Report;

/// <summary>Formats measurements consistently in tables, sentences and charts.</summary>
internal static class Numbers
{
    /// <summary>The text for a measurement without a value.</summary>
    public const string Missing = "n/a";

    /// <summary>A perplexity with four significant digits.</summary>
    public static string Perplexity(double value) => Finite(value, v => v switch
    {
        < 10 => Format(v, "0.000"),
        < 100 => Format(v, "0.00"),
        < 1000 => Format(v, "0.0"),
        < 1e6 => Format(v, "0"),
        _ => Format(v, "0.0e+0"),
    });

    /// <summary>A difference of losses in nats, with its sign.</summary>
    public static string Loss(double nats) => Finite(nats, v => Format(v, "+0.0000;-0.0000;0.0000"));

    /// <summary>A divergence in nats.</summary>
    public static string Divergence(double nats) => Finite(nats, v => v is > 0 and < 0.00005 ? "<0.0001" : Format(v, "0.0000"));

    /// <summary>A share, 0 to 1, in percent.</summary>
    public static string Share(double value) => Finite(value, v => Format(v * 100, "0.0") + "%");

    /// <summary>An accuracy, 0 to 1, in percent with two decimals.</summary>
    public static string Accuracy(double value) => Finite(value, v => Format(v * 100, "0.00") + "%");

    /// <summary>A correlation or a cosine, -1 to 1.</summary>
    public static string Correlation(double value) => Finite(value, v => Format(v, "0.0000"));

    /// <summary>A difference in points, hundredths of a measure, with its sign.</summary>
    public static string Points(double value) => Finite(value, v => Format(v, "+0.00;-0.00;0.00"));

    /// <summary>A small relative error in percent, with two significant digits.</summary>
    public static string RelativeError(double value) => Finite(value, v => v switch
    {
        0 => "0%",
        < 1e-6 => "<0.0001%",
        _ => Format(v * 100, v * 100 >= 10 ? "0" : Decimals(v * 100)) + "%",
    });

    /// <summary>The change in perplexity for a difference of losses, such as <c>+0.7%</c>, or <c>120×</c> if it more than doubles.</summary>
    public static string Change(double nats) => Finite(nats, v => Math.Exp(v) switch
    {
        < 2 and var factor => Format((factor - 1) * 100, "+0.0;-0.0;0.0") + "%",
        < 1000 and var factor => Format(factor, factor < 10 ? "0.0" : "0") + "×",
        var factor => Format(factor, "0.0e+0") + "×",
    });

    /// <summary>A threshold in nats as a share of the perplexity, such as <c>1%</c>.</summary>
    public static string Threshold(double nats) => Format((Math.Exp(nats) - 1) * 100, "0.#") + "%";

    /// <summary>A ratio of two amounts.</summary>
    public static string Ratio(double value) => Finite(value, v => Format(v, v < 10 ? "0.0" : "0") + "×");

    /// <summary>The change of a size, such as <c>4.3× smaller</c> or <c>1.2× larger</c>.</summary>
    public static string SizeChange(long before, long after) =>
        after > before ? $"{Ratio((double)after / before)} larger" : after < before ? $"{Ratio((double)before / after)} smaller" : "the same size";

    /// <summary>A size in decimal units, with three significant digits.</summary>
    public static string Bytes(long value)
    {
        string[] units = ["B", "kB", "MB", "GB", "TB"];
        var unit = 0;
        double scaled = value;
        for (; scaled >= 999.5 && unit < units.Length - 1; unit++)
        {
            scaled /= 1000;
        }

        return Format(scaled, unit == 0 || scaled >= 99.95 ? "0" : scaled >= 9.995 ? "0.0" : "0.00") + " " + units[unit];
    }

    /// <summary>A size relative to that of its source, such as <c>3.70 times smaller than 1,045,397</c>.</summary>
    public static string Smaller(long bytes, long source)
    {
        var ratio = Format(bytes < source ? (double)source / bytes : (double)bytes / source, "0.00");
        return ratio == "1.00" ? $"as large as {Count(source)}" : $"{ratio} times {(bytes < source ? "smaller" : "larger")} than {Count(source)}";
    }

    /// <summary>Seconds without a unit.</summary>
    public static string Seconds(double value) => Finite(value, v => Format(v, v < 10 ? "0.00" : v < 100 ? "0.0" : "0"));

    /// <summary>A time with a suitable unit.</summary>
    public static string Duration(double seconds) => Finite(seconds, v => v switch
    {
        < 180 => Seconds(v) + " s",
        < 7200 => Format(v / 60, "0.0") + " min",
        _ => Format(v / 3600, "0.0") + " h",
    });

    /// <summary>A whole number with thousands separators.</summary>
    public static string Count(long value) => value.ToString("#,0", CultureInfo.InvariantCulture);

    /// <summary>Any other number, with no more digits than needed.</summary>
    public static string Plain(double value) => Finite(value, v => Format(v, Math.Abs(v) is >= 1e6 or (> 0 and < 1e-4) ? "0.##e+0" : "0.######"));

    private static string Decimals(double value) => "0." + new string('0', Math.Clamp(1 - (int)Math.Floor(Math.Log10(value)), 1, 4));

    private static string Finite(double value, Func<double, string> format) =>
        double.IsFinite(value) ? format(value) : double.IsPositiveInfinity(value) ? "∞" : Missing;

    private static string Format(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
}
