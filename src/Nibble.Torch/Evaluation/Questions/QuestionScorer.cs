namespace Nibble.Torch.Evaluation.Questions;

/// <summary>Asks a model the questions of a task file, as lm-evaluation-harness does.</summary>
internal static class QuestionScorer
{
    /// <summary>Scores a model.</summary>
    /// <param name="model">The model.</param>
    /// <param name="file">The questions.</param>
    /// <param name="progress">Receives progress after each question.</param>
    /// <param name="cancellation">Cancels between questions.</param>
    /// <exception cref="NibbleException">An answer has no tokens or too many, or the model computes NaN or infinite values.</exception>
    public static QuestionScore Score(
        IContinuationScorer model, QuestionFile file, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(file);
        var count = file.Questions.Count;
        var (correct, normalized, losses) = (new double[count], new double[count], new double[count]);
        var answers = new int[count];
        var truncated = 0;
        for (var i = 0; i < count; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            var question = file.Questions[i];
            var (scores, cut) = Score(model, question);
            truncated += cut ? 1 : 0;
            losses[i] = -scores[question.Answer].LogLikelihood;
            answers[i] = file.Layout.IsCloze ? scores[0].IsGreedy ? 0 : 1 : MostLikely(scores, score => score.LogLikelihood);
            correct[i] = answers[i] == question.Answer ? 1 : 0;
            var perCharacter = MostLikely(scores, (score, candidate) => score.LogLikelihood / question.Candidates[candidate].Characters);
            normalized[i] = perCharacter == question.Answer ? 1 : 0;
            progress?.Report(new RunProgress("evaluate", i + 1, count));
        }

        QuestionMetric[] further = file.Layout.IsCloze ? [QuestionMetric.PerplexityOf(losses)]
            : file.Layout.Normalizes ? [QuestionMetric.Mean(QuestionMetric.NormalizedAccuracy, normalized)] : [];
        return new QuestionScore(file, [QuestionMetric.Mean(QuestionMetric.Accuracy, correct), .. further], truncated, answers);
    }

    /// <summary>The scores of the candidates of a question, and whether a context was cut.</summary>
    public static (IReadOnlyList<ContinuationScore> Scores, bool IsCut) Score(IContinuationScorer model, Question question)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(question);
        var (cut, contexts) = (false, new Dictionary<string, int[]>(StringComparer.Ordinal));
        var pairs = new List<(int[] Context, int[] Continuation)>(question.Candidates.Count);
        foreach (var (candidate, number) in question.Candidates.Select((candidate, i) => (candidate, i + 1)))
        {
            var (context, continuation) = Encode(model, contexts, question.Prefix + candidate.Context, candidate.Continuation);
            if (context.Length == 0)
            {
                throw new NibbleException($"{question.Place}: there is no text before answer {number}, and the tokenizer has no start token to stand for it");
            }

            if (continuation.Length == 0 || continuation.Length > model.MaxSequence)
            {
                throw new NibbleException(
                    $"{question.Place}: answer {number} has {continuation.Length} tokens after its context, expected 1 to {model.MaxSequence}, "
                    + "the model's context");
            }

            // The last token of the continuation is predicted but not read.
            var most = model.MaxSequence - (continuation.Length - 1);
            cut |= context.Length > most;
            pairs.Add((context.Length > most ? context[^most..] : context, continuation));
        }

        var scores = new ContinuationScore[pairs.Count];
        foreach (var group in Enumerable.Range(0, pairs.Count).GroupBy(i => pairs[i].Context, SameTokens.Instance))
        {
            int[] members = [.. group];
            var found = model.Score(group.Key, [.. members.Select(i => pairs[i].Continuation)]);
            for (var i = 0; i < members.Length; i++)
            {
                scores[members[i]] = found[i];
            }
        }

        return (scores, cut);
    }

    /// <summary>The tokens of a context and those that a continuation adds.</summary>
    /// <remarks>
    /// lm-evaluation-harness, <c>_encode_pair</c>: white space at the end of the context belongs to the continuation, because tokens start with spaces. Both
    /// are encoded together, and the continuation is what follows as many tokens as the context has alone.
    /// </remarks>
    private static (int[] Context, int[] Continuation) Encode(
        IContinuationScorer model, Dictionary<string, int[]> contexts, string context, string continuation)
    {
        var end = context.TrimEnd().Length;
        (context, continuation) = (context[..end], context[end..] + continuation);
        if (!contexts.TryGetValue(context, out var before))
        {
            contexts.Add(context, before = model.Encode(context));
        }

        var whole = model.Encode(context + continuation);
        return (before, whole[Math.Min(before.Length, whole.Length)..]);
    }

    private static int MostLikely(IReadOnlyList<ContinuationScore> scores, Func<ContinuationScore, double> of) => MostLikely(scores, (score, _) => of(score));

    /// <summary>The first of the largest values.</summary>
    private static int MostLikely(IReadOnlyList<ContinuationScore> scores, Func<ContinuationScore, int, double> of)
    {
        var best = 0;
        for (var i = 1; i < scores.Count; i++)
        {
            best = of(scores[i], i) > of(scores[best], best) ? i : best;
        }

        return best;
    }
}
