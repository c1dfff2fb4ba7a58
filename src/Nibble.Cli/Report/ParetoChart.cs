using System.Xml.Linq;
using static Nibble.Cli.Report.Html;

namespace Nibble.Cli.Report;

/// <summary>A variant in the chart of sizes and losses.</summary>
/// <param name="Style">The CSS class of its method, which sets the colour.</param>
/// <param name="Label">The label.</param>
/// <param name="Bytes">The size in bytes.</param>
/// <param name="Loss">The loss relative to float.</param>
internal sealed record ParetoPoint(string Style, string Label, long Bytes, double Loss);

/// <summary>A chart of loss over size, coloured by method. A thin line joins the variants that no other beats in both.</summary>
internal static class ParetoChart
{
    private const double Megabyte = 1e6;

    /// <summary>The chart; null if there is no finite value to draw.</summary>
    /// <param name="variants">The variants.</param>
    /// <param name="caption">The caption.</param>
    /// <param name="unit">The unit of losses.</param>
    public static XElement? Render(IEnumerable<ParetoPoint> variants, string caption, string unit = "nats")
    {
        var points = variants.Where(point => double.IsFinite(point.Loss) && point.Bytes > 0).ToList();
        if (points.Count == 0)
        {
            return null;
        }

        var losses = ChartScale.Loss([0, .. points.Select(point => point.Loss)]);
        var chart = new SvgChart(
            ChartScale.Linear(points.Select(point => point.Bytes / Megabyte), room: 0.12), losses, "size, MB", $"loss relative to float, {unit}",
            SvgChart.RoomFor(["float"]));
        chart.Rule("float", 0);
        chart.EndLabels([("float", "float", 0d)]);
        var front = Front(points);
        for (var i = 1; i < front.Count; i++)
        {
            chart.Link(Place(front[i - 1]), Place(front[i]));
        }

        foreach (var point in points)
        {
            chart.Dot(point.Style, Place(point));
        }

        // Only variants on the front get labels. Others would crowd the chart; they are in the table.
        front.ForEach(point => chart.Label(point.Style, point.Label, Place(point)));
        return E(
            "figure",
            E("figcaption", E("strong", "Loss over size."), $" {caption} The line joins variants that none beats in both. Lower and further left is better."),
            chart.Render("Loss relative to float over size, one dot per variant, coloured by method. The values are in the table."));
    }

    /// <summary>The variants that no other beats in both size and loss, smallest first.</summary>
    public static List<ParetoPoint> Front(IEnumerable<ParetoPoint> points)
    {
        var front = new List<ParetoPoint>();
        foreach (var point in points.OrderBy(point => point.Bytes).ThenBy(point => point.Loss))
        {
            if (front.Count == 0 || point.Loss < front[^1].Loss)
            {
                front.Add(point);
            }
        }

        return front;
    }

    private static ChartPoint Place(ParetoPoint point) => new(point.Bytes / Megabyte, point.Loss);
}
