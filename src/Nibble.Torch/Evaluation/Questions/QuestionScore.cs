namespace Nibble.Torch.Evaluation.Questions;

/// <summary>A value with its standard error.</summary>
/// <param name="Value">The value.</param>
/// <param name="Error">The standard error. Null for a single question, or if a model gives an answer no probability at all.</param>
internal readonly record struct ScoredValue(double Value, double? Error);

/// <summary>A metric of the answers to a task file.</summary>
/// <param name="Name">Its name, as in lm-evaluation-harness.</param>
/// <param name="Value">Its value over all questions.</param>
/// <param name="Parts">
/// The part of each question. Their mean changes as the value does, to first order, so that their deviation gives its standard error. For a mean, the
/// values themselves. For a perplexity, the losses multiplied by the perplexity (delta method).
/// </param>
internal sealed record QuestionMetric(string Name, double Value, IReadOnlyList<double> Parts)
{
    /// <summary>Share of questions whose most likely answer is correct. For a cloze, whose every token is the most likely one.</summary>
    public const string Accuracy = "acc";

    /// <summary>Share of questions whose answer that is most likely per character is correct.</summary>
    public const string NormalizedAccuracy = "acc_norm";

    /// <summary>exp of the mean negative log-likelihood of an answer, all of its tokens together.</summary>
    public const string Perplexity = "perplexity";

    /// <summary>The value with its standard error: the deviation of the parts, with n - 1 degrees of freedom, divided by the root of n.</summary>
    public ScoredValue Scored => new(Value, ErrorOf(Parts));

    /// <summary>The difference from the same metric of a reference on the same questions. Its standard error is that of the differences of the parts.</summary>
    public ScoredValue Over(QuestionMetric reference)
    {
        ArgumentNullException.ThrowIfNull(reference);
        return new ScoredValue(Value - reference.Value, ErrorOf([.. Parts.Zip(reference.Parts, (own, other) => own - other)]));
    }

    /// <summary>A mean.</summary>
    public static QuestionMetric Mean(string name, IReadOnlyList<double> values) => new(name, values.Average(), values);

    /// <summary>The perplexity of losses.</summary>
    public static QuestionMetric PerplexityOf(IReadOnlyList<double> losses)
    {
        var value = Math.Exp(losses.Average());
        return new QuestionMetric(Perplexity, value, [.. losses.Select(loss => value * loss)]);
    }

    private static double? ErrorOf(IReadOnlyList<double> values)
    {
        var mean = values.Average();
        var error = Math.Sqrt(values.Sum(value => (value - mean) * (value - mean)) / (values.Count - 1) / values.Count);
        return double.IsFinite(error) ? error : null;
    }
}

/// <summary>How well a model answers the questions of a task file.</summary>
/// <param name="File">The questions.</param>
/// <param name="Metrics">The metrics, <c>acc</c> first.</param>
/// <param name="Truncated">The number of questions whose context was cut at its start.</param>
/// <param name="Answers">The index of the most likely answer to each question. For a cloze, 0 if it is completed correctly and 1 if not.</param>
internal sealed record QuestionScore(QuestionFile File, IReadOnlyList<QuestionMetric> Metrics, int Truncated, IReadOnlyList<int> Answers)
{
    /// <summary>The metric that counts: <c>acc_norm</c> where answers have different lengths, otherwise <c>acc</c>.</summary>
    public QuestionMetric Main => Metrics.FirstOrDefault(metric => metric.Name == QuestionMetric.NormalizedAccuracy) ?? Metrics[0];

    /// <summary>The share of questions to which a reference gives the same answer, 0 to 1.</summary>
    public double Agreement(QuestionScore reference)
    {
        ArgumentNullException.ThrowIfNull(reference);
        return Answers.Zip(reference.Answers, (own, other) => own == other ? 1.0 : 0.0).Average();
    }
}
