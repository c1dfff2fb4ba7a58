using Nibble.Cli.Report;
using Nibble.Torch.Evaluation.Questions;
using Nibble.Torch.Models;
using Nibble.Torch.Tasks;

namespace Nibble.Cli.Comparison;

/// <summary>The questions of task files. What counts is the mean of the files' accuracies.</summary>
internal sealed class QuestionMeasure : IComparisonMeasure
{
    private const int SampleQuestions = 8;

    private readonly IReadOnlyList<QuestionFile> files;
    private (LoadedModel Model, IReadOnlyList<QuestionScore> Scores)? known;

    /// <summary>Creates a measure.</summary>
    /// <param name="files">The questions, at least one file.</param>
    /// <exception cref="NibbleException">Two files have the same name.</exception>
    public QuestionMeasure(IReadOnlyList<QuestionFile> files)
    {
        this.files = files;
        if (files.GroupBy(file => file.Name, StringComparer.OrdinalIgnoreCase).FirstOrDefault(group => group.Count() > 1) is { } twice)
        {
            throw new NibbleException($"two task files are named {twice.Key}, expected different names, because each has its own score; rename one of them");
        }

        Identity = new Dictionary<string, string>
        {
            ["evaluation data"] = string.Join('\n', files.Select(file => $"{file.Name} {file.Hash}")),
            ["context"] = string.Empty,
            ["windows"] = string.Empty,
        };
    }

    /// <inheritdoc/>
    public QualityScale Scale => QualityScale.OfQuestions;

    /// <inheritdoc/>
    public string Name => string.Join(" + ", files.Select(file => file.Name));

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, string> Identity { get; }

    /// <inheritdoc/>
    public int? Context => null;

    /// <inheritdoc/>
    public int Count => files.Sum(file => file.Questions.Count);

    /// <inheritdoc/>
    public int SampleCount => Math.Min(SampleQuestions, files[0].Questions.Count);

    /// <inheritdoc/>
    public int Passes => 1;

    /// <inheritdoc/>
    public TaskScore Score(LoadedModel model, LoadedModel? reference, int? most, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        IReadOnlyList<QuestionFile> asked = most is { } count ? [files[0] with { Questions = [.. files[0].Questions.Take(count)] }] : files;
        var scores = Ask(model, asked, progress, cancellation);
        var theirs = reference is null ? null : most is null ? AnswersOf(reference, progress, cancellation) : Ask(reference, asked, progress, cancellation);
        var answers = scores.Sum(score => score.Answers.Count);
        double? agreement = theirs is null ? null : scores.Zip(theirs, (own, other) => own.Agreement(other) * own.Answers.Count).Sum() / answers;
        return new TaskScore(
            [
                new TaskMetric(Classification.Accuracy, scores.Average(score => score.Main.Value)),
                .. scores.SelectMany(score => score.Metrics.Select(metric => new TaskMetric(
                    $"{score.File.Name}/{metric.Name}", metric.Value, metric.Name != QuestionMetric.Perplexity))),
            ],
            Loss: null,
            answers)
        {
            Agreement = agreement,
            Divergence = 1 - agreement,
        };
    }

    /// <summary>The answers of the float model, which is asked once.</summary>
    private IReadOnlyList<QuestionScore> AnswersOf(LoadedModel reference, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        if (known is not { } kept || kept.Model != reference)
        {
            known = kept = (reference, Ask(reference, files, progress, cancellation));
        }

        return kept.Scores;
    }

    private static List<QuestionScore> Ask(
        LoadedModel model, IReadOnlyList<QuestionFile> files, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        using var scorer = new SimulatedContinuations(model.Decoder, model.Tokenizer);
        return [.. files.Select(file => QuestionScorer.Score(scorer, file, progress, cancellation))];
    }
}
