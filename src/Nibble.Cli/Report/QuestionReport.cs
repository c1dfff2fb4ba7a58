using System.Globalization;
using Nibble.Cli.Rendering;
using Nibble.Cli.Report.Documents;
using Nibble.Torch.Evaluation.Questions;
using Spectre.Console;

namespace Nibble.Cli.Report;

/// <summary>Shows how well a model answers questions.</summary>
/// <param name="Model">The model's name.</param>
/// <param name="Engine">The engine that ran it.</param>
/// <param name="Reference">The reference's name; null for none.</param>
/// <param name="Scores">The scores per task file, with those of the reference if there is one.</param>
internal sealed record QuestionReport(string Model, string Engine, string? Reference, IReadOnlyList<(QuestionScore Own, QuestionScore? Reference)> Scores)
{
    /// <summary>The JSON document.</summary>
    public EvalTasksDocument Document() => new(
        EvalTasksDocument.CurrentSchema, Model, Engine, Reference, Scores[0].Own.File.Shots,
        [
            .. Scores.Select(score => new EvaluatedTask(
                score.Own.File.Name, score.Own.File.Layout.Name, score.Own.File.Questions.Count, score.Own.Truncated,
                [.. score.Own.Metrics.Select((metric, i) => Entry(metric, score.Reference?.Metrics[i]))],
                score.Reference is { } reference ? score.Own.Agreement(reference) : null)),
        ]);

    /// <summary>Writes a table.</summary>
    public void Write(CommandHost host)
    {
        var table = new Table { Border = TableBorder.Simple };
        string[] headings = ["task", "metric", "value", .. Reference is null ? [] : (string[])["float", "difference", "same answers"], "questions"];
        foreach (var heading in headings)
        {
            table.AddColumn(new TableColumn(new Text(heading)) { Alignment = table.Columns.Count < 2 ? Justify.Left : Justify.Right });
        }

        foreach (var (own, reference) in Scores)
        {
            for (var i = 0; i < own.Metrics.Count; i++)
            {
                var (metric, other) = (own.Metrics[i], reference?.Metrics[i]);
                string First(string text) => i == 0 ? text : string.Empty;
                string[] compared = other is null ? [] :
                [
                    Shown(other.Name, other.Scored, signed: false), Shown(metric.Name, metric.Over(other), signed: true),
                    First(Numbers.Share(own.Agreement(reference!))),
                ];
                string[] cells =
                [
                    First(own.File.Name), metric.Name, Shown(metric.Name, metric.Scored, signed: false), .. compared,
                    First(Numbers.Count(own.File.Questions.Count)),
                ];
                table.AddRow(cells.Select(cell => new Text(cell)));
            }
        }

        host.Console.WriteTable(table);
        var shots = Scores[0].Own.File.Shots;
        var examples = shots switch { 0 => "without examples", 1 => "with 1 example", _ => $"with {shots} examples" };
        host.Output.WriteLine(
            $"accuracies in percent with their standard errors, of {Model} in {Engine}, {examples}"
            + (Reference is null ? string.Empty : $"; differences from {Reference} on the same questions"));
    }

    private static EvaluatedMetric Entry(QuestionMetric metric, QuestionMetric? reference)
    {
        var difference = reference is null ? default(ScoredValue?) : metric.Over(reference);
        return new EvaluatedMetric(
            metric.Name, metric.Value, metric.Scored.Error, reference?.Value, reference?.Scored.Error, difference?.Value, difference?.Error);
    }

    /// <summary>A value and its standard error; accuracies in percent.</summary>
    private static string Shown(string metric, ScoredValue scored, bool signed)
    {
        var scale = metric == QuestionMetric.Perplexity ? 1 : 100;
        var format = signed ? "+0.00;-0.00;0.00" : "0.00";
        string Text(double value, string form) => double.IsFinite(value) ? (value * scale).ToString(form, CultureInfo.InvariantCulture) : "∞";
        return Text(scored.Value, format) + (scored.Error is { } error ? $" ± {Text(error, "0.00")}" : string.Empty);
    }
}
