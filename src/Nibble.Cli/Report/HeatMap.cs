using System.Globalization;
using System.Xml.Linq;
using static Nibble.Cli.Report.Html;

namespace Nibble.Cli.Report;

/// <summary>A column of a heat map.</summary>
/// <param name="Style">The CSS class of its colour.</param>
/// <param name="Group">The first line of its title. Columns of one group share a legend.</param>
/// <param name="Label">The second line.</param>
/// <param name="Values">Values by layer; null for unknown values.</param>
internal sealed record HeatColumn(string Style, string Group, string Label, IReadOnlyDictionary<string, double?> Values);

/// <summary>A table of layers whose cells are shaded by their values.</summary>
internal static class HeatMap
{
    /// <summary>The table with its legend.</summary>
    /// <param name="columns">At least one.</param>
    /// <param name="layers">The rows, by full name.</param>
    /// <param name="caption">A description of the values.</param>
    /// <param name="format">Formats a value.</param>
    /// <param name="logarithmic">Whether the shading is logarithmic and larger values are darker. Otherwise it is linear and smaller values are darker.</param>
    /// <param name="folded">Whether the table is collapsed at first.</param>
    public static XElement Render(
        IReadOnlyList<HeatColumn> columns, IReadOnlyList<string> layers, string caption, Func<double, string> format, bool logarithmic, bool folded)
    {
        var shown = columns.SelectMany(column => column.Values.Values).OfType<double>().Where(value => double.IsFinite(value) && (!logarithmic || value > 0))
            .DefaultIfEmpty(1).ToList();
        var (least, most) = (shown.Min(), shown.Max());
        var prefix = CommonPrefix(layers);

        var head = E("thead", E(
            "tr",
            E("th", A("scope", "col"), "layer"),
            columns.Select(column => E("th", A("scope", "col"), Class(column.Style), column.Group, E("br"), column.Label))));
        var body = E("tbody", layers.Select(layer => E(
            "tr",
            E("th", A("scope", "row"), layer[prefix.Length..]),
            columns.Select(column => Cell(column.Style, column.Values.GetValueOrDefault(layer))))));
        var table = Scrolling("div", caption, E("table", Class("heat"), head, body));
        var legend = E(
            "p", Class("legend"),
            columns.Select(column => (column.Group, column.Style)).Distinct().Select(group => E(
                "span", Class("key"),
                group.Group + " ",
                format(logarithmic ? least : most),
                E("span", Class("ramp " + group.Style)),
                format(logarithmic ? most : least))));
        var title = caption + (prefix.Length > 0 ? $" (names without “{prefix}”)." : ".");
        return E("figure", E("figcaption", title), legend, folded ? E("details", E("summary", $"Show {layers.Count} layers"), table) : table);

        XElement Cell(string style, double? value)
        {
            if (value is not { } error)
            {
                return E("td", Numbers.Missing);
            }

            var share = !double.IsFinite(error) ? 1
                : logarithmic ? (error <= 0 ? 0 : Position(Math.Log(error), Math.Log(least), Math.Log(most)))
                : 1 - Position(error, least, most);
            return E("td", Class(style), A("style", $"--share:{share.ToString("0.##", CultureInfo.InvariantCulture)}"), format(error));
        }
    }

    private static double Position(double value, double least, double most) => most > least ? (value - least) / (most - least) : 0.5;

    /// <summary>The common prefix of all names, up to and including a dot.</summary>
    private static string CommonPrefix(IReadOnlyList<string> names)
    {
        var length = names.Count < 2 ? 0 : names.Aggregate((a, b) => a[..a.Zip(b).TakeWhile(pair => pair.First == pair.Second).Count()]).Length;
        return names.Count == 0 ? "" : names[0][..(names[0][..length].LastIndexOf('.') + 1)];
    }
}
