using Nibble.Models;
using System.Xml.Linq;
using static Nibble.Cli.Report.Html;

namespace Nibble.Cli.Report;

/// <summary>The charts of losses in the report.</summary>
internal static class ReportCharts
{
    /// <summary>Most points of a training curve. Longer curves are averaged over equal intervals.</summary>
    private const int CurvePoints = 60;

    private const string ControlLabel = "control";

    /// <summary>Loss over size, with the front of the best variants; null if no finite loss was measured.</summary>
    public static XElement? LossBySize(ComparisonResult result) => ParetoChart.Render(
        Width.Of(result).SelectMany(
            width => width.Runs.Select(run => new ParetoPoint(Style(run), $"{MethodNames.Title(run.Method)} {width.Label}", run.Bytes, run.LossDifference))),
        "The loss of each variant and its file size.",
        result.Scale.LossUnit);

    /// <summary>Loss over bits for each method; null if no finite loss was measured.</summary>
    public static XElement? LossByBits(ComparisonResult result)
    {
        var runs = Drawable(result);
        if (runs.Count == 0)
        {
            return null;
        }

        var losses = ChartScale.Loss(Losses(result, runs));
        var chart = new SvgChart(
            ChartScale.Linear(runs.Select(run => run.BitsPerWeight), room: 0.12), losses, "bits per weight, scales included",
            $"loss relative to float, {result.Scale.LossUnit}", SvgChart.RoomFor([ControlLabel]));
        DrawReferences(chart, result);
        var severalActivations = runs.Select(run => run.ActivationBits).Distinct().Count() > 1;
        var lines = runs.GroupBy(run => (run.Method, run.ActivationBits)).ToList();
        foreach (var (series, style) in lines.Zip(SvgChart.ToldApart(lines.Select(series => Style(series.First())))))
        {
            List<ChartPoint> points = [.. series.OrderBy(run => run.BitsPerWeight).Select(run => new ChartPoint(run.BitsPerWeight, run.LossDifference))];
            chart.Line(style, points);
            points.ForEach(point => chart.Dot(style, point));
            chart.Label(style, MethodNames.Title(series.Key.Method) + (severalActivations ? $" a{series.Key.ActivationBits}" : ""), points);
        }

        return Figure(
            "Loss over width",
            "The loss of quantization at each width. " + ScaleNote(losses) + NotDrawn(result),
            chart.Render("Loss relative to float over bits per weight, one line per method. The values are in the results table."));
    }

    /// <summary>Loss over time for each method; null if no finite loss was measured.</summary>
    public static XElement? LossByTime(ComparisonResult result)
    {
        var runs = Drawable(result).Where(run => double.IsFinite(run.Seconds) && run.Seconds > 0).ToList();
        if (runs.Count == 0)
        {
            return null;
        }

        var losses = ChartScale.Loss(Losses(result, runs));
        var chart = new SvgChart(
            ChartScale.Logarithmic(runs.Select(run => run.Seconds)), losses, "seconds, logarithmic", $"loss relative to float, {result.Scale.LossUnit}",
            SvgChart.RoomFor([ControlLabel]));
        DrawReferences(chart, result);
        foreach (var width in Width.Of(result))
        {
            List<ChartPoint> points = [.. width.Runs.Where(runs.Contains).Select(run => new ChartPoint(run.Seconds, run.LossDifference))];
            if (points.Count > 1)
            {
                chart.Link(points[0], points[^1]);
            }
        }

        foreach (var width in Width.Of(result))
        {
            foreach (var run in width.Runs.Where(runs.Contains))
            {
                var point = new ChartPoint(run.Seconds, run.LossDifference);
                chart.Dot(Style(run), point);
                chart.Label(Style(run), $"{MethodNames.Title(run.Method)} {width.Label}", point);
            }
        }

        return Figure(
            "Loss over time",
            "The loss of each variant and the time to make it. A thin line joins the runs of one width. " + ScaleNote(losses),
            chart.Render("Loss relative to float over the seconds to make each variant. The values are in the results table."));
    }

    /// <summary>Loss of the training batches over steps; null if nothing was trained.</summary>
    public static XElement? TrainingCurves(ComparisonResult result)
    {
        var named = Width.Of(result)
            .SelectMany(width => width.Runs.Select(run => (Run: run, Label: $"{MethodNames.Title(run.Method)} {width.Label}")))
            .Concat(result.Runs.Where(run => run.Method is null).Select(run => (Run: run, Label: ControlLabel)));
        var curves = named
            .Select(pair => (Style: Style(pair.Run), pair.Label, Points: Averaged(pair.Run.TrainingLosses)))
            .Where(curve => curve.Points.Count > 1)
            .ToList();
        if (curves.Count == 0)
        {
            return null;
        }

        curves = [.. curves.Zip(SvgChart.ToldApart(curves.Select(curve => curve.Style)), (curve, style) => curve with { Style = style })];
        var points = curves.SelectMany(curve => curve.Points).ToList();
        var chart = new SvgChart(
            ChartScale.Linear([1, result.Runs.SelectMany(run => run.TrainingLosses).Max(loss => loss.Step)], room: 0),
            ChartScale.Logarithmic(points.Select(point => point.Y)), "training step",
            result.Task == ModelTask.LanguageModelling ? "loss of the batch, nats, logarithmic" : "loss of the batch, logarithmic",
            SvgChart.RoomFor(curves.Select(curve => curve.Label)));
        curves.ForEach(curve => chart.Line(curve.Style, curve.Points));
        chart.EndLabels(curves.Select(curve => (curve.Style, curve.Label, curve.Points[^1].Y)));
        var stretch = StretchOf(result.Runs.Max(run => run.TrainingLosses.Count));
        return Figure(
            "Training curves",
            "The loss of the training batches, with simulated quantization"
                + (curves.Exists(curve => curve.Label == ControlLabel) ? "; the control trains in float" : "")
                + (stretch > 1 ? $". Each point is the mean of {stretch} steps." : "."),
            chart.Render("Loss of the training batches over training steps, one line per trained variant."));
    }

    /// <summary>The CSS class of a run, which sets the colour of its method.</summary>
    public static string Style(ComparisonRun run) => run.MethodWord;

    private static string ScaleNote(ChartScale losses) =>
        (losses.IsLinear ? "Lower" : "The loss axis is logarithmic, except near 0. Lower") + " is better, and below 0 is better than float.";

    private static List<ComparisonRun> Drawable(ComparisonResult result) =>
        [.. Width.Of(result).SelectMany(width => width.Runs).Where(run => double.IsFinite(run.LossDifference) && double.IsFinite(run.BitsPerWeight))];

    private static ComparisonRun? DrawableControl(ComparisonResult result) =>
        result.Runs.FirstOrDefault(run => run.Method is null && double.IsFinite(run.LossDifference));

    private static List<double> Losses(ComparisonResult result, IEnumerable<ComparisonRun> runs) =>
        [0, DrawableControl(result)?.LossDifference ?? 0, .. runs.Select(run => run.LossDifference)];

    private static void DrawReferences(SvgChart chart, ComparisonResult result)
    {
        List<(string Style, string Label, double Loss)> references = [("float", "float", 0)];
        if (DrawableControl(result) is { } control)
        {
            references.Add(("float control", ControlLabel, control.LossDifference));
        }

        references.ForEach(reference => chart.Rule(reference.Style, reference.Loss));
        chart.EndLabels(references);
    }

    private static string NotDrawn(ComparisonResult result)
    {
        var missing = Width.Of(result).SelectMany(width => width.Runs).Where(run => !double.IsFinite(run.LossDifference)).Select(run => run.Name).ToList();
        return missing.Count == 0 ? "" : $" Not drawn, because no finite loss was measured: {string.Join(", ", missing)}.";
    }

    private static int StretchOf(int steps) => (steps + CurvePoints - 1) / CurvePoints;

    /// <summary>A training curve. A long one is averaged over equal intervals.</summary>
    public static List<ChartPoint> Averaged(IReadOnlyList<TrainingLoss> losses)
    {
        var finite = losses.Where(loss => double.IsFinite(loss.Loss) && loss.Loss > 0).ToList();
        return finite.Count == 0
            ? []
            : [.. finite.Chunk(StretchOf(finite.Count)).Select(chunk => new ChartPoint(chunk.Average(loss => loss.Step), chunk.Average(loss => loss.Loss)))];
    }

    private static XElement Figure(string title, string caption, XElement chart) =>
        E("figure", E("figcaption", E("strong", title + "."), " " + caption), chart);
}
