using System.Globalization;

namespace Nibble.Recipes;

/// <summary>Numbers as people write them: digits and a decimal point, without thousands separators.</summary>
internal static class NumberText
{
    private const NumberStyles Style = NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint | NumberStyles.AllowExponent;

    /// <summary>Reads a finite number.</summary>
    public static bool TryParse(string text, out double value) =>
        double.TryParse(text, Style, CultureInfo.InvariantCulture, out value) && double.IsFinite(value);

    /// <summary>Reads a whole number.</summary>
    public static bool TryParse(string text, out long value) => long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out value);

    /// <summary>The corrected form of a number with a decimal comma, to append to a message; empty for any other fault.</summary>
    public static string DecimalHint(string text)
    {
        var point = text.Replace(',', '.');
        return point != text && TryParse(point, out double _) ? $"; write {point}" : string.Empty;
    }

    /// <summary>The corrected form of a whole number with thousands separators, to append to a message; empty for any other fault.</summary>
    public static string WholeHint(string text)
    {
        // A thousands separator is followed by exactly three digits: 1,5 is not 15.
        var parts = text.Split(',', '.', '_', '\'', ' ');
        var digits = string.Concat(parts);
        return digits != text && parts.Skip(1).All(part => part.Length == 3) && !TryParse(text, out double _) && TryParse(digits, out long _)
            ? $"; write {digits}" : string.Empty;
    }
}
