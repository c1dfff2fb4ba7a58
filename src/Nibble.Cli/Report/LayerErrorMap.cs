using System.Globalization;
using System.Xml.Linq;

namespace Nibble.Cli.Report;

/// <summary>Tables of layers and runs with cells shaded by error.</summary>
internal static class LayerErrorMap
{
    /// <summary>A map of weights with more layers than this is collapsed at first.</summary>
    private const int OpenLayers = 60;

    /// <summary>The errors of the weights, and those of the outputs if they were measured.</summary>
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

    private static XElement Map(
        List<Column> columns, string caption, Func<LayerError, double?> select, Func<double, string> format, bool logarithmic, bool folded) => HeatMap.Render(
        [.. columns.Select(column => new HeatColumn(
            ReportCharts.Style(column.Run),
            MethodNames.Title(column.Run.Method),
            column.Label,
            column.Run.LayerErrors.GroupBy(error => error.Layer).ToDictionary(group => group.Key, group => select(group.First()))))],
        [.. columns.SelectMany(column => column.Run.LayerErrors.Select(error => error.Layer)).Distinct()],
        caption,
        format,
        logarithmic,
        folded);

    private sealed record Column(ComparisonRun Run, string Label);
}
