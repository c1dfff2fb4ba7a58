using System.Globalization;
using System.Xml.Linq;
using Nibble.Recipes;
using Nibble.Torch.Qat;
using static Nibble.Cli.Report.Html;

namespace Nibble.Cli.Report;

/// <summary>The report of one training: its curves and its settings. It contains no times, so that equal runs give equal bytes.</summary>
internal static class TrainingReport
{
    /// <summary>The report's HTML.</summary>
    /// <param name="recipe">The recipe, with the settings that were used.</param>
    /// <param name="text">The training data, in words.</param>
    /// <param name="result">The result, with at least one loss.</param>
    public static string Render(Recipe recipe, string text, QatResult result)
    {
        var (model, qat) = (result.Artifact.Model, recipe.Qat);
        return HtmlPage.Render(
            $"{model}: trained with {recipe.Name} by Nibble",
            [
                E(
                    "header",
                    E("p", Class("kicker"), "Quantization-aware training · ", E("bdi", model)),
                    E("h1", Typeset($"{recipe.Name}: loss {Number(result.FinalLoss)} after {result.Losses.Count} steps"))),
                E(
                    "main",
                    E("section", E("h2", "Curves"), E("div", Class("charts"), Chart(result, qat))),
                    E(
                        "section",
                        E("h2", "What was run"),
                        E(
                            "dl", Class("facts"),
                            Fact("Training data", text),
                            Fact("Batches", $"{qat.BatchSize} × {qat.SequenceLength} tokens in {qat.Accumulation} parts"),
                            Fact("Learning rates", $"{Number(qat.LearningRate)} for weights, {Number(qat.ScaleLearningRate)} for scales"),
                            Fact("Size", $"{Numbers.Bytes(result.Artifact.Bytes)}, {result.Artifact.Layers} quantized layers")),
                        Scrolling("pre", "Recipe", E("code", RecipeFile.ToJson(recipe))))),
            ]);

        static XElement Fact(string name, string value) => E("div", E("dt", name), E("dd", value));
    }

    private static XElement Chart(QatResult result, QatSettings settings)
    {
        var training = ReportCharts.Averaged([.. result.Losses.Select(point => new TrainingLoss(point.Step, point.Loss))]);
        var heldOut = result.HeldOutLosses.Select(point => new ChartPoint(point.Step, point.Loss)).ToList();
        var curves = new[] { (Style: "qat", Label: "training", Points: training), (Style: "float", Label: "held out", Points: heldOut) }.Where(
            curve => curve.Points.Count > 0).ToList();
        var chart = new SvgChart(
            ChartScale.Linear([1, result.Losses.Count], room: 0),
            ChartScale.Logarithmic(curves.SelectMany(curve => curve.Points).Select(point => point.Y)),
            "training step", "loss, nats, logarithmic", SvgChart.RoomFor(curves.Select(curve => curve.Label)));
        curves.ForEach(curve => chart.Line(curve.Style, curve.Points));
        chart.EndLabels(curves.Select(curve => (curve.Style, curve.Label, curve.Points[^1].Y)));
        var teacher = settings.Distillation is null ? ""
            : " The training loss is the distance from the teacher. The held-out loss is cross-entropy.";
        return E(
            "figure",
            E("figcaption", E("strong", "Training curves."),
                $" The loss of the training batches{(heldOut.Count > 0 ? " and of held-out text" : "")}.{teacher}"),
            chart.Render("Loss over training steps."));
    }

    private static string Number(double value) => value.ToString("0.####", CultureInfo.InvariantCulture);
}
