using Nibble.Models;
using Nibble.Recipes;
using System.Globalization;
using System.Xml.Linq;
using static Nibble.Cli.Report.Html;

namespace Nibble.Cli.Report;

/// <summary>The report of a comparison: one HTML file without external resources or scripts.</summary>
internal static class HtmlReport
{
    /// <summary>The report's HTML.</summary>
    public static string Render(ComparisonResult result)
    {
        ArgumentNullException.ThrowIfNull(result);
        var advice = Advice.For(result);
        return HtmlPage.Render(
            $"{result.Model.Name}: PTQ and QAT compared by Nibble",
            [
                Conclusion(result, advice),
                E(
                    "main",
                    Results(result, advice),
                    Charts(result),
                    Section("Error of each layer", LayerErrorIntroduction(result), LayerErrorMap.Render(result)),
                    Section("Weights before and after", HistogramIntroduction, WeightHistograms.Render(result)),
                    Section("Generated text", null, Samples(result)),
                    Section("What happened to each layer", null, Summaries(result)),
                    WhatWasRun(result),
                    HowToRead(result.Scale)),
                E("footer", E("p", $"Written by Nibble {result.Versions.Nibble} on {Date(result)}.")),
            ]);
    }

    /// <summary>Writes the report to a file. An older report is replaced atomically.</summary>
    /// <exception cref="NibbleException">The file cannot be written.</exception>
    public static void Write(ComparisonResult result, string path) => HtmlPage.Write(path, Render(result));

    private static XElement Conclusion(ComparisonResult result, Advice advice) => E(
        "header",
        E("p", Class("kicker"), "PTQ and QAT compared · ", E("bdi", result.Model.Name)),
        E("h1", Typeset(advice.Headline)),
        advice.Answers.Count == 0 ? null : E("dl", Class("advice"), advice.Answers.SkipLast(1).Select(answer => E(
            "div", E("dt", answer.Question), E("dd", Typeset(answer.Text))))),
        E("p", Class("summary"), Typeset(advice.Summary)),
        advice.Widths.Count == 0 ? null : E("dl", Class("advice"), advice.Widths.Select(width => E(
            "div",
            E("dt", E("span", width.Label), " ", E(
                "strong", Class(width.Method?.Word() ?? "neither"), width.Method?.ToString().ToUpperInvariant() ?? "neither")),
            E("dd", Typeset(width.Text))))));

    private static XElement Results(ComparisonResult result, Advice advice)
    {
        var (scale, evaluation) = (result.Scale, result.Evaluation);
        string[] headings = [.. ComparisonTable.Columns(scale).Select(column => column switch
        {
            "bits" => "bits per weight",
            "loss" => $"loss, {scale.LossUnit}",
            "KL" => "KL, nats",
            "agree" => "agreement",
            "sec" => "seconds",
            "peak" => "peak memory",
            _ => column,
        })];
        var head = E("thead", E("tr", headings.Select((heading, column) => E("th", A("scope", "col"), Numeric(column), heading))));
        var rows = ComparisonTable.Rows(result);
        var groups = rows.GroupBy(row => row.Group).Select(group => E("tbody", group.Select(row => E(
            "tr",
            row.IsBest ? Class("best") : null,
            row.Cells.Select((cell, column) => column switch
            {
                0 => E("th", A("scope", "row"), E("bdi", cell),
                    row.Run is { } run && advice.Widths.Any(width => width.Run == run.Name) ? E("span", Class("mark"), " recommended") : null),
                < ComparisonTable.TextColumns => E("td", Class(cell), cell),
                _ => E("td", Class("number"), Typeset(cell)),
            })))));
        return E(
            "section",
            E("h2", "Results"),
            Scrolling("div", "Results", E("table", Class("results"), head, groups)),
            E(
                "p", Class("note"),
                $"Measured on {evaluation.Name}: {Scored(evaluation)}. ",
                $"{Compared(scale)} the float model in the first row.",
                rows.Any(row => row.IsBest)
                    ? $" The best {scale.Name} of each width is bold. The recommendation also considers the time and the float control." : ""));


        static XAttribute? Numeric(int column) => column < ComparisonTable.TextColumns ? null : Class("number");
    }

    private static string Compared(QualityScale scale) => scale switch
    {
        { DivergenceHeading: null } => "Loss and cosine are relative to",
        { AgreementHeading: null } => "Loss and squared difference are relative to",
        _ => "Loss, KL and agreement are relative to",
    };

    private static string Scored(EvaluationData evaluation) => evaluation.Context is { } context
        ? $"{Numbers.Count(evaluation.Predictions)} tokens in {Numbers.Count(evaluation.Count)} windows of {Numbers.Count(context)}"
        : $"{Numbers.Count(evaluation.Count)} {evaluation.Unit}";

    private static XElement? Charts(ComparisonResult result)
    {
        List<XElement?> charts = [
            ReportCharts.LossBySize(result), ReportCharts.LossByBits(result), ReportCharts.LossByTime(result), ReportCharts.TrainingCurves(result)];
        return charts.TrueForAll(chart => chart is null)
            ? null
            : E("section", E("h2", "Quality, width and time"), E("div", Class("charts"), charts));
    }

    private static string LayerErrorIntroduction(ComparisonResult result) =>
        "The distance of each layer's weights from the original ones. A stronger colour means a larger error, on a logarithmic scale."
        + (result.Runs.Any(run => run.Method is Method.Qat or Method.Hybrid)
            ? " QAT changes weights on purpose, so a large distance is not a defect. The results table shows whether the model became better or worse."
            : "");

    private const string HistogramIntroduction =
        "The line shows the original float weights, the filled shape the weights after quantization. Heights are square roots of the counts, so that a few "
            + "frequent values do not flatten the rest.";

    private static List<XElement> Samples(ComparisonResult result)
    {
        if (result.Prompt is not { } prompt)
        {
            return [];
        }

        IEnumerable<(string Name, string Style, double Quality, string? Sample)> all =
        [
            ("float", "float", result.Baseline.Quality, result.Baseline.Sample),
            .. result.Runs.Where(run => run.Method is null).Concat(Width.Of(result).SelectMany(width => width.Runs))
                .Select(run => (run.Name, ReportCharts.Style(run), run.Quality, run.Sample)),
        ];
        var figures = all.Where(variant => variant.Sample is not null).Select(variant => E(
            "figure",
            E("figcaption", E("bdi", Class(variant.Style), variant.Name), $" · {result.Scale.Name} {result.Scale.Value(variant.Quality)}"),
            E(
                "blockquote", A("dir", "auto"),
                prompt.Length > 0 ? E("mark", prompt) : null,
                variant.Sample!.StartsWith(prompt, StringComparison.Ordinal) ? variant.Sample[prompt.Length..] : variant.Sample))).ToList();
        return figures.Count == 0 ? [] : [E("div", Class("samples"), figures)];
    }

    private static IEnumerable<XElement> Summaries(ComparisonResult result)
    {
        var facts = result.Summaries.Select(summary => Fact(summary.Heading, $"{summary.Runs}: {summary.Text}")).ToList();
        return facts.Count == 0 ? [] : [E("dl", Class("facts"), facts)];
    }

    private static XElement WhatWasRun(ComparisonResult result)
    {
        var (model, machine, versions) = (result.Model, result.Machine, result.Versions);
        var recipes = Width.Of(result).Select(width => width.Recipe).ToList();
        return E(
            "section",
            E("h2", "What was run"),
            E(
                "dl", Class("facts"),
                Fact("Model", $"{model.Name} ({model.Family}), {Numbers.Count(model.Parameters)} parameters, {Numbers.Count(model.QuantizedParameters)} of "
                    + $"them in quantized layers, {Numbers.Bytes(model.Bytes)}, from {model.Path}"),
                Fact("Recipes", recipes.Count == 0 ? "none" : string.Join(", ", recipes)),
                Fact(result.Task == ModelTask.LanguageModelling ? "Training text" : "Training data",
                    $"{result.Training.Name}, {Numbers.Count(result.Training.Count)} {result.Training.Unit}"),
                Fact(
                    result.Scale.IsText ? "Evaluation text" : "Evaluation data",
                    result.Scale.IsText ? $"{result.Evaluation.Name}, {Numbers.Count(result.Evaluation.Predictions)} scored tokens"
                        : $"{result.Evaluation.Name}, {Scored(result.Evaluation)}"),
                result.FineTuning is { } tuned
                    ? Fact(
                        "Fine-tuning",
                        $"the float model was first trained for the task: {Numbers.Count(tuned.Steps)} steps of {tuned.BatchSize} texts, learning rate "
                            + $"{Numbers.Plain(tuned.LearningRate)}, "
                            + Numbers.Duration(tuned.Seconds))
                    : null,
                result.Qat is { } qat
                    ? Fact("Training", $"{Numbers.Count(qat.Steps)} steps of {qat.BatchSize} "
                        + $"{(result.Task == ModelTask.LanguageModelling ? $"× {qat.SequenceLength} tokens" : "texts")}, "
                        + $"learning rate {Numbers.Plain(qat.LearningRate)}, gradient by {Estimator(qat)}")
                    : null,
                Fact("Seed", result.Seed.ToString(CultureInfo.InvariantCulture)),
                Fact("Scoring float", $"{Numbers.Duration(result.Baseline.Seconds)}, peak memory {Numbers.Bytes(result.Baseline.PeakBytes)}"),
                Fact("Machine", $"{machine.Cpu}, {machine.Cores} cores, {Numbers.Bytes(machine.MemoryBytes)} memory, {machine.Os}"),
                Fact("Versions", $"Nibble {versions.Nibble}, .NET {versions.Dotnet}, TorchSharp {versions.TorchSharp}, libtorch {versions.Libtorch}"),
                Fact("Date", Date(result))),
            E("p", "To repeat it:"),
            Scrolling("pre", "Command that repeats it", E("code", result.CommandLine)));
    }

    private static XElement HowToRead(QualityScale scale) => E(
        "section",
        E("h2", "How to read the numbers"),
        E(
            "dl", Class("facts"),
            scale.IsText ? OfTokens() : OfAnswers(scale),
            Fact("Bits per weight", "Storage per quantized weight, including its share of scales and zero points."),
            Fact("Seconds, peak memory",
                "The cost of making the variant: calibration and quantization for PTQ, training and conversion for QAT, without scoring. The peak is that of "
                + "the whole process."),
            Fact("Float control", "The original model, trained exactly like the QAT variants but without quantization. It shows the gain of training alone."),
            Fact(
                "Advice",
                $"PTQ is enough if {(scale.IsText ? "it raises the perplexity by at most" : $"the {scale.Name} falls by at most")} "
                    + $"{scale.Threshold(scale.Small)}. QAT is recommended if it is more than "
                    + $"{scale.Threshold(scale.WorthTraining)} better than PTQ, after subtracting the gain of the control. Neither is recommended if both lose "
                        + $"more than {scale.Threshold(scale.Usable)}.")));

    private static XElement[] OfTokens() =>
    [
        Fact("Perplexity", "e to the power of the mean negative log-likelihood per token of the evaluation text. It is the number of equally likely tokens "
            + "that the model seems to choose from. Lower is better."),
        Fact("Loss", "The mean negative log-likelihood minus that of the float model, in nats (1 nat = 1.44 bits). Small losses are close to the relative "
            + "rise of the perplexity: +0.01 nats is +1%."),
        Fact("KL", "The mean Kullback-Leibler divergence from the float model's distribution of the next token to the variant's, in nats. It "
            + "shows changes that the perplexity averages out. Trained variants move away from the original on purpose."),
        Fact("Agreement", "How often the variant and the float model have the same top-1 token."),
    ];

    private static List<XElement> OfAnswers(QualityScale scale)
    {
        if (scale == QualityScale.OfQuestions)
        {
            return
            [
                Fact("Accuracy", "The share of questions whose most likely answer is correct, per character where answers have different lengths. With several "
                    + "task files, the mean of their accuracies. Higher is better."),
                Fact("Loss", "The float model's accuracy minus the variant's, in points (hundredths)."),
                Fact("Same answers", "How often the variant and the float model find the same answer most likely, whether or not it is correct."),
            ];
        }

        List<XElement> facts =
        [
            scale.CountsAnswers
                ? Fact("Accuracy", "The share of evaluation texts with the correct class. Higher is better.")
                : Fact("Spearman", "The rank correlation between the model's values and those of the evaluation data, -1 to 1. Higher is better."),
            Fact("Loss", $"The float model's {scale.Name} minus the variant's, in points (hundredths)."),
        ];
        if (scale.CountsAnswers)
        {
            facts.Add(Fact("KL", "The mean Kullback-Leibler divergence from the float model's distribution over the classes to the variant's, in nats. It "
                + "shows changes that do not change an answer."));
            facts.Add(Fact("Agreement", "How often the variant and the float model give the same class."));
        }
        else
        {
            facts.Add(scale.AgreementHeading is null
                ? Fact("Squared difference", "The mean squared difference between the variant's values and the float model's.")
                : Fact("Cosine", "The mean cosine between the variant's vectors and the float model's. It falls even if rounding happens to raise the rank "
                    + "correlation."));
        }

        return facts;
    }

    private static XElement? Section(string title, string? introduction, IEnumerable<XElement> content)
    {
        var parts = content.ToList();
        return parts.Count == 0 ? null : E("section", E("h2", title), introduction is null ? null : E("p", introduction), parts);
    }

    private static XElement Fact(string name, string text) => E("div", E("dt", name), E("dd", text));

    private static string Estimator(Recipes.QatSettings settings) => settings.Estimator switch
    {
        Recipes.GradientEstimator.LearnedScale => "straight-through estimation with learned scales (LSQ)",
        Recipes.GradientEstimator.LearnedScaleAndOffset => "straight-through estimation with learned scales and zero points (LSQ+)",
        _ => "straight-through estimation",
    };

    private static string Date(ComparisonResult result) => result.Date.ToString("yyyy-MM-dd HH:mm zzz", CultureInfo.InvariantCulture);
}
