using Nibble.Cli.Report.Documents;
using System.Globalization;
using System.Xml.Linq;
using Nibble.Recipes;
using Nibble.Torch.Planning;
using static Nibble.Cli.Report.Html;

namespace Nibble.Cli.Report;

/// <summary>The report of a mixed recipe: the front it was chosen from, and the sensitivity of each layer. It contains no times.</summary>
internal static class MixReport
{
    /// <summary>The report's HTML.</summary>
    public static string Render(MixDocument document, MixResult result) => HtmlPage.Render(
        $"{document.Model}: mixed precision within {document.Budget}, by Nibble",
        [
            E(
                "header",
                E("p", Class("kicker"), "Mixed precision · ", E("bdi", document.Model)),
                E("h1", Typeset($"{document.Chosen.AverageBits.ToString("0.00", CultureInfo.InvariantCulture)} bits on average: "
                    + $"{document.Unit().Write(document.Chosen.Loss)} over float in {Numbers.Bytes(document.Chosen.Bytes)}")),
                E("p", Class("summary"), Typeset(
                    $"The budget was {document.Budget}. Bits are per weight code. Bytes include scales, zero points and everything that stays float. "
                        + $"Losses, in {document.Unit().Mean}, were measured on held-out data of {document.Data}."))),
            E(
                "main",
                E("section", E("h2", "The front"), E("div", Class("charts"), Chart(document)), Table(document)),
                document.Methods.Count == 0 ? null : E("section", E("h2", "Which layers to train"), Methods(document.Methods)),
                E(
                    "section", E("h2", "Layers"),
                    SensitivityReport.Map([.. result.Layers.Select(item => (item.Layer, item.Change, item.Distance.Divergence))], document.Unit())),
                E("section", E("h2", "The recipe"), Scrolling("pre", "Recipe", E("code", RecipeYaml.Write(result.Recipe))))),
        ]);

    private static XElement Chart(MixDocument document)
    {
        List<MixEntry> all = [.. document.Uniform, .. document.Front, document.Chosen];
        var losses = ChartScale.Loss([0, .. all.Select(point => point.Loss)]);
        var chart = new SvgChart(
            ChartScale.Linear(all.Select(point => point.Bytes / 1e3), room: 0.12), losses, "size of the artifact, kB",
            $"loss relative to float, {document.Unit().Name}", SvgChart.RoomFor([]));
        chart.Rule("float", 0);
        Series("float", "one width", document.Uniform);
        Series("ptq", "mixed", document.Front);
        chart.Dot("qat", Place(document.Chosen));
        chart.Label("qat", "chosen", Place(document.Chosen));
        return E(
            "figure",
            E("figcaption", E("strong", "Loss over size."), " Every point was quantized and measured. Lower and further left is better."),
            chart.Render("Loss relative to float over the artifact's size: recipes of one width, and the front of mixed recipes. See the table."));

        void Series(string style, string label, IReadOnlyList<MixEntry> entries)
        {
            List<ChartPoint> points = [.. entries.OrderBy(point => point.Bytes).Select(Place)];
            if (points.Count > 0)
            {
                chart.Line(style, points);
                points.ForEach(point => chart.Dot(style, point));
                chart.Label(style, label, points);
            }
        }

        static ChartPoint Place(MixEntry entry) => new(entry.Bytes / 1e3, entry.Loss);
    }

    private static XElement Methods(IReadOnlyList<MethodEntry> methods) => Scrolling(
        "div", "Which layers to train",
        E(
            "table", Class("results"),
            E("thead", E("tr", ((string[])["trained", "layers", "steps in the time limit", "steps tried", "loss after them", "standard error"])
                .Select(title => E("th", A("scope", "col"), title)))),
            E("tbody", methods.Select(method => E(
                "tr",
                E("th", A("scope", "row"), method.Trained),
                ((string[])[Numbers.Count(method.Layers), Numbers.Count(method.Steps), Numbers.Count(method.TriedSteps), Numbers.Loss(method.Loss),
                    Numbers.Divergence(method.LossError)])
                    .Select(cell => E("td", Class("number"), Typeset(cell))))))));

    private static XElement Table(MixDocument document) => Scrolling(
        "div", "The front",
        E(
            "table", Class("results"),
            E("thead", E("tr", ((string[])["recipe", "bits", "size", "predicted", "90 % between", "measured", "standard error"])
                .Select(title => E("th", A("scope", "col"), title)))),
            E("tbody", document.Uniform.Concat(document.Front).Append(document.Chosen).Select(point => E(
                "tr",
                E("th", A("scope", "row"), point.Recipe),
                ((string[])
                [
                    point.AverageBits.ToString("0.00", CultureInfo.InvariantCulture), Numbers.Bytes(point.Bytes), Numbers.Loss(point.Predicted),
                    $"{Numbers.Loss(point.Low)} to {Numbers.Loss(point.High)}",
                    Numbers.Loss(point.Loss), Numbers.Divergence(point.LossError),
                ]).Select(cell => E("td", Class("number"), Typeset(cell))))))));
}
