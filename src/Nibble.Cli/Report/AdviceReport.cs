using Nibble.Cli.Report.Documents;
using Nibble.Files;
using System.Text.Json;
using System.Xml.Linq;
using Nibble.Models;
using Nibble.Planning;
using Nibble.Recipes;
using Nibble.Torch.Planning;
using static Nibble.Cli.Report.Html;

namespace Nibble.Cli.Report;

/// <summary>The advisor's report: the decision first, then the evidence.</summary>
internal static class AdviceReport
{
    /// <summary>Writes a new folder with the report and its data. The folder appears complete or not at all.</summary>
    public static void WriteFolder(string? folder, AdvisorResult result, AdviceRequest request, AdviceDocument document, string reportName, string documentName)
    {
        if (folder is not null)
        {
            AtomicFile.MakeFolder(folder, work =>
            {
                HtmlPage.Write(Path.Combine(work, reportName), Render(result, request));
                File.WriteAllText(Path.Combine(work, documentName), JsonSerializer.Serialize(document, CliJson.Default.AdviceDocument) + "\n");
            });
        }
    }

    /// <summary>The report's HTML.</summary>
    public static string Render(AdvisorResult result, AdviceRequest request)
    {
        var unit = LossUnit.Of(result.Task);
        return HtmlPage.Render(
            $"{request.Model}: advice by Nibble",
            [
                E(
                    "header",
                    E("p", Class("kicker"), "PTQ or QAT? · ", E("bdi", request.Model)),
                    E("h1", Typeset(AdviceText.Headline(result))),
                    AdviceText.Sentences(result, request).Select(sentence => E("p", Class("summary"), Typeset(sentence))),
                    result.Decision.Recommended is { } option ? E("pre", Class("scroll"), A("tabindex", "0"), E("code", option.Command)) : null),
                E(
                    "main",
                    E("section", E("h2", "Size and loss"), E("div", Class("charts"), Pareto(result), Curves(result))),
                    Layers(result),
                    E("section", E("h2", "Options"), OptionsTable(result), Excluded(result)),
                    Costs(result),
                    E(
                        "section",
                        E("h2", "What was run"),
                        E(
                            "dl", Class("facts"),
                            Fact("Data and limits", AdviceText.MayUse(request)),
                            Fact("Scored on", $"{request.HeldOut}: {Scored(result, unit)}"),
                            Fact("Probe", $"{Numbers.Duration(result.ProbeSeconds)} of at most {Numbers.Duration(request.ProbeSeconds)}, {result.Threads} "
                                + $"threads"),
                            Fact(
                                "Intervals",
                                "should contain the true value in nine of ten cases. Measured: from the spread over windows or texts. "
                                    + "Extrapolated: from how well shorter trainings predict longer ones. Typical: not tried, a typical value.")),
                        E("p", "To repeat it:"),
                        E("pre", Class("scroll"), A("tabindex", "0"), E("code", request.CommandLine)))),
            ]);
    }

    private static string Scored(AdvisorResult result, LossUnit unit) => (unit.HasPerplexity, result.FloatLoss) switch
    {
        (true, { } loss) =>
            $"{Numbers.Count(result.Tokens)} tokens in {Numbers.Count(result.Windows)} windows; float {Numbers.Perplexity(Math.Exp(loss))} perplexity",
        (_, { } loss) => $"{TaskText.Pieces(result.Task, result.Windows, context: null)}; float {Numbers.Plain(Math.Round(loss, 4))} {unit.Mean}",
        _ => TaskText.Pieces(result.Task, result.Windows, context: null),
    };

    /// <summary>Costs for decoders of known sizes.</summary>
    private static XElement? Costs(AdvisorResult result)
    {
        if (result.Task != ModelTask.LanguageModelling)
        {
            return null;
        }

        var costs = CostTable.Of(result.Machine, [result.Shape, .. ModelShape.Known], [4], new QatSettings());
        return E(
            "section",
            E("h2", "Cost of each method for larger models on this machine"),
            Table(CostTable.Columns, costs.Rows.Select(row => ((string?)null, CostTable.Cells(row))), 2, "Costs"),
            E("p", Class("note"), Typeset($"Computed by formula, for {costs.Described}. {CostTable.Formula}")));
    }

    private static XElement? Pareto(AdvisorResult result) => ParetoChart.Render(
        result.Options.Select(option => new ParetoPoint(option.Method.ToString().ToLowerInvariant(), option.Name, option.Bytes, option.Loss.Value)),
        "The loss and the size of each option.");

    private static XElement? Curves(AdvisorResult result)
    {
        var curves = result.Curves.Where(curve => curve.Points.All(point => double.IsFinite(point.Loss))).ToList();
        if (curves.Count == 0)
        {
            return null;
        }

        var predicted = result.Options.Where(option => option.Trains && option.Evidence == Evidence.Extrapolated).ToList();
        var losses = ChartScale.Loss(
            [0, .. curves.SelectMany(curve => curve.Points).Select(point => point.Loss), .. predicted.Select(option => option.Loss.Value)]);
        var steps = ChartScale.Logarithmic(
            curves.SelectMany(curve => curve.Points).Select(point => (double)point.Steps).Concat(predicted.Select(option => (double)option.Steps)));
        var chart = new SvgChart(
            steps, losses, "training steps, logarithmic", $"loss relative to float, {LossUnit.Of(result.Task).Name}",
            SvgChart.RoomFor(curves.Select(curve => curve.Name)));
        var styles = SvgChart.ToldApart(
            curves.Select(curve => result.Options.FirstOrDefault(option => option.Name == curve.Name)?.Method.ToString().ToLowerInvariant() ?? "float"));
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

            chart.Label(style, curve.Name, points[^1]);
        }

        return E(
            "figure",
            E("figcaption", E("strong", "Short trainings."),
                " Each dot is a training of that length with a complete schedule, scored on held-out text. A thin line leads to the prediction."),
            chart.Render("Loss relative to float over the steps of short trainings, and the losses predicted for the full length."));
    }

    private static XElement? Layers(AdvisorResult result) => result.Sensitivity.Count == 0 ? null : E(
        "section",
        E("h2", "Where the loss comes from"),
        E("p", "The effect of quantizing one layer at a time, with round to nearest on a few windows or texts. Sensitive layers need more bits."),
        SensitivityReport.Map([.. result.Sensitivity.Select(item => (item.Layer, item.Change, item.Distance.Divergence))], LossUnit.Of(result.Task)));

    private static XElement OptionsTable(AdvisorResult result) => Table(
        AdviceTable.Columns(LossUnit.Of(result.Task)),
        result.Decision.Ranked.Select(option => (
            option == result.Decision.Recommended ? "best" : (string?)null, AdviceTable.Cells(option, LossUnit.Of(result.Task)))),
        AdviceTable.TextColumns,
        "Options");

    private static XElement? Excluded(AdvisorResult result) => result.Decision.RuledOut.Count == 0 ? null : E(
        "dl", Class("facts"), result.Decision.RuledOut.Select(item => Fact(item.Option.Name, string.Join("; ", item.Broken.Select(broken => broken.Reason)))));

    private static XElement Table(IReadOnlyList<string> columns, IEnumerable<(string? Style, IReadOnlyList<string> Cells)> rows, int words, string label) => E(
        "div", Class("scroll"), A("tabindex", "0"), A("role", "region"), A("aria-label", label),
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
