using Nibble.Torch.Evaluation.Questions;

namespace Nibble.Cli.Engines;

/// <summary>Scores continuations with a model that an engine runs.</summary>
/// <param name="engine">The engine.</param>
/// <param name="encode">The tokens of a text, after a beginning-of-text token if there is one.</param>
internal sealed class EngineContinuations(IDecoderEngine engine, Func<string, int[]> encode) : IContinuationScorer
{
    /// <inheritdoc/>
    public int MaxSequence => engine.MaxSequence;

    /// <inheritdoc/>
    public int[] Encode(string text) => encode(text);

    /// <inheritdoc/>
    public IReadOnlyList<ContinuationScore> Score(IReadOnlyList<int> context, IReadOnlyList<int[]> continuations)
    {
        var scores = new ContinuationScore[continuations.Count];

        // Answers that differ in their last token only, such as letters, follow from one run.
        foreach (var group in Enumerable.Range(0, scores.Length).GroupBy(i => continuations[i][..^1], SameTokens.Instance))
        {
            int[] tokens = [.. context, .. group.Key];
            var logits = Predict(tokens, context.Count - 1);
            foreach (var i in group)
            {
                scores[i] = Sum(logits, continuations[i]);
            }
        }

        return scores;
    }

    private float[] Predict(int[] tokens, int first)
    {
        Refuse(tokens);
        return (tokens.Length - first) * (long)engine.VocabularySize <= Array.MaxLength
            ? engine.Predict(tokens, first)
            : throw new NibbleException(
                $"an answer of {tokens.Length - first} tokens with {engine.VocabularySize} logits each is too large to score in an engine; remove it from the "
                + "task file");
    }

    private ContinuationScore Sum(float[] logits, int[] tokens)
    {
        Refuse(tokens);
        var (sum, greedy) = (0.0, true);
        for (var i = 0; i < tokens.Length; i++)
        {
            var row = logits.AsSpan(i * engine.VocabularySize, engine.VocabularySize);
            var best = 0;
            for (var token = 1; token < row.Length; token++)
            {
                best = row[token] > row[best] ? token : best;
            }

            var total = 0.0;
            foreach (var logit in row)
            {
                total += Math.Exp(logit - (double)row[best]);
            }

            // NaN and infinite logits make the total NaN.
            if (double.IsNaN(total))
            {
                throw new NibbleException("the engine computes NaN or infinite values on this text: the model overflows in it, or its weights are damaged");
            }

            sum += row[tokens[i]] - (double)row[best] - Math.Log(total);
            greedy &= best == tokens[i];
        }

        return new ContinuationScore(sum, greedy);
    }

    private void Refuse(int[] tokens)
    {
        if (tokens.Max() is var largest && largest >= engine.VocabularySize)
        {
            throw new NibbleException(
                $"the tokenizer makes token {largest}, but the model's vocabulary has {engine.VocabularySize} tokens: the tokenizer belongs to another model");
        }
    }
}
