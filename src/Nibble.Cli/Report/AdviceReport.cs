using Nibble.Cli.Report.Documents;
using Nibble.Files;
using System.Text.Json;
using System.Xml.Linq;
using Nibble.Planning;
using Nibble.Recipes;
using static Nibble.Cli.Report.Html;

namespace Nibble.Cli.Report;

/// <summary>The advisor's report: the decision first, then the evidence.</summary>
internal static class AdviceReport
{
    /// <summary>Writes a new folder with the report and its data. The folder appears complete or not at all.</summary>
    public static void WriteFolder(string? folder, AdviceDocument document, string reportName, string documentName)
    {
        if (folder is not null)
        {
            AtomicFile.MakeFolder(folder, work =>
            {
                HtmlPage.Write(Path.Combine(work, reportName), Render(document));
                File.WriteAllText(Path.Combine(work, documentName), JsonSerializer.Serialize(document, CliJson.Default.AdviceDocument) + "\n");
            });
        }
    }

    /// <summary>The report's HTML.</summary>
    public static string Render(AdviceDocument document)
    {
        var probe = document.Probe;
        return HtmlPage.Render(
            $"{document.Model}: advice by Nibble",
            [
                E(
                    "header",
                    E("p", Class("kicker"), "PTQ or QAT? · ", E("bdi", document.Model)),
                    E("h1", Typeset(document.Headline)),
                    document.Text.Select(sentence => E("p", Class("summary"), Typeset(sentence))),
                    document.Recommendation is { } option ? Scrolling("pre", "Command", E("code", option.Command)) : null),
                E(
                    "main",
                    E("section", E("h2", "Size and loss"), E("div", Class("charts"), Pareto(document), Curves(document))),
                    Layers(document),
                    E("section", E("h2", "Options"), OptionsTable(document), Excluded(document)),
                    Costs(document),
                    E(
                        "section",
                        E("h2", "What was run"),
                        E(
                            "dl", Class("facts"),
                            Fact("Data and limits", document.MayUse),
                            Fact("Scored on", $"{document.HeldOut}: {Scored(document)}"),
                            Fact("Probe", $"{Numbers.Duration(probe.Seconds)} of at most {Numbers.Duration(probe.LimitSeconds)}, {probe.Threads} threads"),
                            Fact(
                                "Intervals",
                                "should contain the true value in nine of ten cases. Measured: from the spread over windows or texts. "
                                    + "Extrapolated: from how well shorter trainings predict longer ones. Typical: not tried, a typical value.")),
                        E("p", "To repeat it:"),
                        Scrolling("pre", "Command that repeats it", E("code", document.CommandLine)))),
            ]);
    }

    private static string Scored(AdviceDocument document)
    {
        var (unit, probe) = (document.Unit(), document.Probe);
        var pieces = TaskText.Pieces(document.TaskOf(), probe.Windows, context: null);
        return (unit.HasPerplexity, document.FloatLoss) switch
        {
            (true, { } loss) =>
                $"{Numbers.Count(probe.Tokens)} tokens in {Numbers.Count(probe.Windows)} windows; float {Numbers.Perplexity(Math.Exp(loss))} perplexity",
            (_, { } loss) => $"{pieces}; float {Numbers.Plain(Math.Round(loss, 4))} {unit.Mean}",
            _ => pieces,
        };
    }

    private static XElement? Costs(AdviceDocument document)
    {
        if (document.Costs.Count == 0)
        {
            return null;
        }

        var machine = new Hardware(document.Probe.Flops, document.Probe.Bandwidth) { Efficiency = document.Probe.Efficiency };
        var costs = new CostTable(machine, document.Costs);
        return E(
            "section",
            E("h2", "Cost of each method for larger models on this machine"),
            Table(CostTable.Columns, costs.Rows.Select(row => ((string?)null, CostTable.Cells(row))), 2, "Costs"),
            E("p", Class("note"), Typeset($"Computed by formula, for {costs.Described}. {CostTable.Formula}")));
    }

    private static XElement? Pareto(AdviceDocument document) => ParetoChart.Render(
        document.Options.Select(option => new ParetoPoint(option.Method.Word(), option.Name, option.Bytes, option.Loss.Value)),
        "The loss and the size of each option.",
        document.Unit().Name);

    private static XElement? Curves(AdviceDocument document)
    {
        var curves = document.Probe.Curves.Where(curve => curve.Points.All(point => double.IsFinite(point.Loss))).ToList();
        if (curves.Count == 0)
        {
            return null;
        }

        var predicted = document.Options.Where(option => option is { Method: not Method.Ptq, Evidence: Evidence.Extrapolated }).ToList();
        var losses = ChartScale.Loss(
            [0, .. curves.SelectMany(curve => curve.Points).Select(point => point.Loss), .. predicted.Select(option => option.Loss.Value)]);
        var steps = ChartScale.Logarithmic(
            curves.SelectMany(curve => curve.Points).Select(point => (double)point.Steps).Concat(predicted.Select(option => (double)option.Steps)));
        var chart = new SvgChart(
            steps, losses, "training steps, logarithmic", $"loss relative to float, {document.Unit().Name}",
            SvgChart.RoomFor([]));
        var styles = SvgChart.ToldApart(
            curves.Select(curve => document.Options.FirstOrDefault(option => option.Name == curve.Name)?.Method.Word() ?? "float"));
        foreach (var (curve, style) in curves.Zip(styles))
        {
            List<ChartPoint> points = [.. curve.Points.Select(point => new ChartPoint(point.Steps, point.Loss))];
            chart.Line(style, points);
            points.ForEach(point => chart.Dot(style, point));
            if (predicted.Find(option => option.Name == curve.Name) is { } end)
            {
                chart.Link(points[^1], new ChartPoint(end.Steps, end.Loss.Value));
                chart.Dot(style, new ChartPoint(end.Steps, end.Loss.Value));
            }

            chart.Label(style, curve.Name, [.. points.AsEnumerable().Reverse()]);
        }

        return E(
            "figure",
            E("figcaption", E("strong", "Short trainings."),
                " Each dot is a training of that length with a complete schedule, scored on held-out text. A thin line leads to the prediction."),
            chart.Render("Loss relative to float over the steps of short trainings, and the losses predicted for the full length."));
    }

    private static XElement? Layers(AdviceDocument document) => document.Sensitivity.Count == 0 ? null : E(
        "section",
        E("h2", "Where the loss comes from"),
        E("p", "The effect of quantizing one layer at a time, with round to nearest on a few windows or texts. Sensitive layers need more bits."),
        SensitivityReport.Map([.. document.Sensitivity.Select(item => (item.Layer, item.Change, item.Kl))], document.Unit()));

    private static XElement? OptionsTable(AdviceDocument document) => document.Options.Where(option => option.Allowed).ToList() is { Count: > 0 } allowed
        ? Table(
            AdviceTable.Columns(document.Unit()),
            allowed.Select(option => (document.Recommends(option) ? "best" : (string?)null, AdviceTable.Cells(option, document.Unit()))),
            AdviceTable.TextColumns,
            "Options")
        : null;

    private static XElement? Excluded(AdviceDocument document) => document.Options.Where(option => !option.Allowed).ToList() is { Count: > 0 } excluded
        ? E("dl", Class("facts"), excluded.Select(option => Fact(option.Name, string.Join("; ", option.Reasons))))
        : null;

    private static XElement Table(
        IReadOnlyList<string> columns, IEnumerable<(string? Style, IReadOnlyList<string> Cells)> rows, int words, string label) => Scrolling(
        "div", label,
        E(
            "table", Class("results"),
            E("thead", E("tr", columns.Select((column, i) => E("th", A("scope", "col"), i < words ? null : Class("number"), column)))),
            E("tbody", rows.Select(row => E(
                "tr",
                row.Style is { } style ? Class(style) : null,
                row.Cells.Select((cell, i) =>
                    i == 0 ? E("th", A("scope", "row"), E("bdi", cell)) : E("td", i < words ? null : Class("number"), Typeset(cell))))))));

    private static XElement Fact(string name, string text) => E("div", E("dt", E("bdi", name)), E("dd", Typeset(text)));
}
