using System.Globalization;
using System.Xml.Linq;
using static Nibble.Cli.Report.Html;

namespace Nibble.Cli.Report;

/// <summary>Tables of layers by runs whose cells are shaded by how large an error is.</summary>
internal static class LayerErrorMap
{
    /// <summary>A map of weights with more layers than this is folded away until asked for.</summary>
    private const int OpenLayers = 60;

    /// <summary>The weights' errors, and the outputs' where they were measured.</summary>
    public static IEnumerable<XElement> Render(ComparisonResult result)
    {
        var columns = Width.Of(result)
            .SelectMany(width => width.Runs.Select(run => new Column(run, width.Label)))
            .Where(column => column.Run.LayerErrors.Count > 0)
            .OrderBy(column => column.Run.Method)
            .ToList();
        if (columns.Count == 0)
        {
            yield break;
        }

        yield return Map(
            columns,
            "Weights: squared distance from the original weights, relative to their squared norm",
            error => error.WeightError,
            Numbers.RelativeError,
            logarithmic: true,
            folded: columns.Max(column => column.Run.LayerErrors.Count) > OpenLayers);
        var measured = columns.Where(column => column.Run.LayerErrors.Any(error => error.OutputSnr is not null)).ToList();
        if (measured.Count > 0)
        {
            yield return Map(
                measured,
                "Outputs: signal-to-noise ratio on the calibration data, in dB; higher is better",
                error => error.OutputSnr,
                value => value.ToString("0.0", CultureInfo.InvariantCulture),
                logarithmic: false,
                folded: true);
        }
    }

    private static XElement Map(List<Column> columns, string caption, Func<LayerError, double?> select, Func<double, string> format, bool logarithmic, bool folded)
    {
        var values = columns.Select(column => column.Run.LayerErrors.GroupBy(error => error.Layer).ToDictionary(group => group.Key, group => select(group.First()))).ToList();
        List<string> layers = [.. columns.SelectMany(column => column.Run.LayerErrors.Select(error => error.Layer)).Distinct()];
        var shown = values.SelectMany(column => column.Values).OfType<double>().Where(value => double.IsFinite(value) && (!logarithmic || value > 0)).DefaultIfEmpty(1).ToList();
        var (least, most) = (shown.Min(), shown.Max());
        var prefix = CommonPrefix(layers);

        var head = E("thead", E(
            "tr",
            E("th", A("scope", "col"), "layer"),
            columns.Select(column => E("th", A("scope", "col"), Class(ReportCharts.Style(column.Run)), ReportCharts.MethodName(column.Run.Method), E("br"), column.Label))));
        var body = E("tbody", layers.Select(layer => E(
            "tr",
            E("th", A("scope", "row"), layer[prefix.Length..]),
            columns.Zip(values, (column, errors) => Cell(column, errors.GetValueOrDefault(layer))))));
        var table = E("div", Class("scroll"), A("tabindex", "0"), A("role", "region"), A("aria-label", caption), E("table", Class("heat"), head, body));
        var legend = E(
            "p", Class("legend"),
            columns.Select(column => column.Run.Method).Distinct().Select(method => E(
                "span", Class("key"),
                ReportCharts.MethodName(method) + " ",
                format(logarithmic ? least : most),
                E("span", Class("ramp " + method.ToString().ToLowerInvariant())),
                format(logarithmic ? most : least))));
        var title = caption + (prefix.Length > 0 ? $" (names without “{prefix}”)." : ".");
        return E("figure", E("figcaption", title), legend, folded ? E("details", E("summary", $"Show {layers.Count} layers"), table) : table);

        XElement Cell(Column column, double? value)
        {
            if (value is not { } error)
            {
                return E("td", Numbers.Missing);
            }

            var share = !double.IsFinite(error) ? 1
                : logarithmic ? (error <= 0 ? 0 : Position(Math.Log(error), Math.Log(least), Math.Log(most)))
                : 1 - Position(error, least, most);
            return E(
                "td", Class(ReportCharts.Style(column.Run)),
                A("style", $"--share:{share.ToString("0.##", CultureInfo.InvariantCulture)}"),
                format(error));
        }
    }

    private static double Position(double value, double least, double most) => most > least ? (value - least) / (most - least) : 0.5;

    /// <summary>What all names start with, up to a dot.</summary>
    private static string CommonPrefix(List<string> names)
    {
        var length = names.Count < 2 ? 0 : names.Aggregate((a, b) => a[..a.Zip(b).TakeWhile(pair => pair.First == pair.Second).Count()]).Length;
        return names.Count == 0 ? "" : names[0][..(names[0][..length].LastIndexOf('.') + 1)];
    }

    private sealed record Column(ComparisonRun Run, string Label);
}
