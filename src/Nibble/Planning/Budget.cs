using System.Globalization;
using System.Text.RegularExpressions;

namespace Nibble.Planning;

/// <summary>The quantity that a budget limits.</summary>
internal enum BudgetKind
{
    /// <summary>Bits of a code, averaged over the quantized weights. Scales and zero points are not counted.</summary>
    AverageBits,

    /// <summary>Bytes of the artifact's tensors, including scales, zero points and float tensors.</summary>
    Bytes,

    /// <summary>Loss above the float model's, in the unit of the model's task (<see cref="LossUnit"/>).</summary>
    Loss,
}

/// <summary>The limit of a mixed recipe.</summary>
/// <param name="Kind">The quantity that is limited.</param>
/// <param name="Amount">The limit, above 0, in the unit of its kind.</param>
internal readonly partial record struct Budget(BudgetKind Kind, double Amount)
{
    private static readonly Dictionary<string, double> Units = new(StringComparer.OrdinalIgnoreCase)
    {
        ["B"] = 1,
        ["KB"] = 1e3,
        ["MB"] = 1e6,
        ["GB"] = 1e9,
        ["KiB"] = 1 << 10,
        ["MiB"] = 1 << 20,
        ["GiB"] = 1 << 30,
    };

    /// <summary>Reads a budget such as <c>3bits</c>, <c>2.5bits</c>, <c>200KB</c> or <c>loss=0.1</c>.</summary>
    /// <exception cref="NibbleException">The text is not a budget.</exception>
    public static Budget Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var match = Pattern.Match(text);
        if (!match.Success || !double.TryParse(match.Groups["amount"].ValueSpan, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var amount)
            || amount <= 0)
        {
            throw new NibbleException(
                $"'{text}' is not a budget: expected average bits per weight (3bits, 2.5bits), the artifact's size (200KB, 1.5GB, 300MiB) "
                    + $"or a loss over float (loss=0.1){Hint(text)}");
        }

        return match.Groups["loss"].Success ? new Budget(BudgetKind.Loss, amount)
            : Units.TryGetValue(match.Groups["unit"].Value, out var unit) ? new Budget(BudgetKind.Bytes, amount * unit)
            : new Budget(BudgetKind.AverageBits, amount);
    }

    private static string Hint(string text) =>
        text.Replace(',', '.') is var point && point != text && Pattern.IsMatch(point) ? $"; write {point}" : string.Empty;

    /// <inheritdoc/>
    public override string ToString() => Kind switch
    {
        BudgetKind.AverageBits => string.Create(CultureInfo.InvariantCulture, $"{Amount}bits"),
        BudgetKind.Bytes => string.Create(CultureInfo.InvariantCulture, $"{Amount:0}B"),
        _ => string.Create(CultureInfo.InvariantCulture, $"loss={Amount}"),
    };

    [GeneratedRegex(@"^(?<loss>loss=)?(?<amount>[0-9]+(\.[0-9]+)?)(?<unit>(?(loss)|(bits?|[KMG]i?B|B)))\z",
        RegexOptions.IgnoreCase | RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture)]
    private static partial Regex Pattern { get; }
}
