using System.Xml.Linq;
using static Nibble.Cli.Report.Html;

namespace Nibble.Cli.Report;

/// <summary>A variant in the plot of sizes and losses.</summary>
/// <param name="Style">The style class of its road, which gives its colour.</param>
/// <param name="Label">What to write beside it.</param>
/// <param name="Bytes">Its size.</param>
/// <param name="Loss">Over float.</param>
internal sealed record ParetoPoint(string Style, string Label, long Bytes, double Loss);

/// <summary>Size against loss, the colour says the road; a thin line joins the variants that no other beats in both.</summary>
internal static class ParetoChart
{
    private const double Megabyte = 1e6;

    /// <summary>The chart; null where nothing finite is to be drawn.</summary>
    /// <param name="variants">The variants.</param>
    /// <param name="caption">What to say below the title.</param>
    /// <param name="unit">What losses are counted in.</param>
    public static XElement? Render(IEnumerable<ParetoPoint> variants, string caption, string unit = "nats")
    {
        var points = variants.Where(point => double.IsFinite(point.Loss) && point.Bytes > 0).ToList();
        if (points.Count == 0)
        {
            return null;
        }

        var losses = ChartScale.Loss([0, .. points.Select(point => point.Loss)]);
        var chart = new SvgChart(
            ChartScale.Linear(points.Select(point => point.Bytes / Megabyte), room: 0.12), losses, "size, MB", $"loss against float, {unit}",
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

        // One label for each variant on the front: the others would only crowd the plot, and stand in the table.
        front.ForEach(point => chart.Label(point.Style, point.Label, Place(point)));
        return E(
            "figure",
            E("figcaption", E("strong", "Loss over size."), $" {caption} The line joins what nothing beats in both; lower and further left is better."),
            chart.Render("Loss against float over size, one dot for each variant, coloured by road. The numbers are in the table."));
    }

    /// <summary>The variants that no other beats in both size and loss, the smallest first.</summary>
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
