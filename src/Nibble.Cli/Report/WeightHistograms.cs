using System.Text;
using System.Xml.Linq;
using static Nibble.Cli.Report.Html;
using static Nibble.Cli.Report.SvgChart;

namespace Nibble.Cli.Report;

/// <summary>Small histograms of the weights before and after quantization, one row per layer.</summary>
internal static class WeightHistograms
{
    private const double Width = 220;
    private const double Height = 140;
    private const double Bottom = 20;

    /// <summary>The histograms; empty if a comparison has none.</summary>
    public static IEnumerable<XElement> Render(ComparisonResult result)
    {
        var pictures = Report.Width.Of(result)
            .SelectMany(width => width.Runs.SelectMany(run => run.WeightHistograms.Select(histogram => (Width: width, Run: run, Histogram: histogram))))
            .Where(picture => IsWhole(picture.Histogram));
        foreach (var layer in pictures.GroupBy(picture => picture.Histogram.Layer))
        {
            var tallest = layer.Max(picture => picture.Histogram.Before.Concat(picture.Histogram.After).Max());
            yield return E(
                "figure",
                E("figcaption", E("code", layer.Key)),
                E("div", Class("multiples"), layer.Select(picture => E(
                    "div",
                    E("p", Class(ReportCharts.Style(picture.Run)), $"{MethodNames.Title(picture.Run.Method)} {picture.Width.Label}"),
                    Draw(picture.Run, picture.Histogram, Math.Max(1, tallest))))));
        }
    }

    private static bool IsWhole(WeightHistogram histogram) =>
        histogram.Before.Count > 0 && histogram.After.Count == histogram.Before.Count && histogram.Edges.Count == histogram.Before.Count + 1
        && double.IsFinite(histogram.Edges[^1] - histogram.Edges[0]) && histogram.Edges[^1] > histogram.Edges[0];

    private static XElement Draw(ComparisonRun run, WeightHistogram histogram, long tallest)
    {
        var (first, last) = (histogram.Edges[0], histogram.Edges[^1]);
        var svg = E(
            "svg", Class("histogram"), A("viewBox", $"0 0 {N(Width)} {N(Height)}"), A("role", "img"),
            A("aria-label", $"Weights of {histogram.Layer} before and after {run.Name}, from {Numbers.Plain(first)} to {Numbers.Plain(last)}"),
            E("path", Class("after " + ReportCharts.Style(run)), A("d", Outline(histogram.After) + "Z")),
            E("path", Class("before"), A("d", Outline(histogram.Before))),
            E("line", Class("axis"), A("x1", "0"), A("x2", N(Width)), A("y1", N(Height - Bottom)), A("y2", N(Height - Bottom))),
            Tick("start", 0, first),
            Tick("end", Width, last));
        if (first < 0 && last > 0)
        {
            svg.Add(Tick("middle", Across(0), 0));
        }

        return svg;

        double Across(double value) => (value - first) / (last - first) * Width;

        XElement Tick(string anchor, double at, double value) =>
            E("text", Class("tick"), A("x", N(at)), A("y", N(Height - 5)), A("text-anchor", anchor), Typeset(Numbers.Plain(Math.Round(value, 3))));

        string Outline(IReadOnlyList<long> counts)
        {
            var path = new StringBuilder($"M0 {N(Height - Bottom)}");
            for (var i = 0; i < counts.Count; i++)
            {
                // The height is a square root, because a few bins contain nearly all values after quantization and would flatten the rest.
                path.Append('V').Append(N(Height - Bottom - (Math.Sqrt(Math.Max(0, counts[i]) / (double)tallest) * (Height - Bottom - 4))));
                path.Append('H').Append(N(Across(histogram.Edges[i + 1])));
            }

            return path.Append('V').Append(N(Height - Bottom)).ToString();
        }
    }
}
