namespace Nibble.Torch.Evaluation.Questions;

/// <summary>How likely a model finds a continuation.</summary>
/// <param name="LogLikelihood">The sum of the log-probabilities of its tokens, in nats.</param>
/// <param name="IsGreedy">Whether each token is the most likely one.</param>
internal readonly record struct ContinuationScore(double LogLikelihood, bool IsGreedy);

/// <summary>A model, in the simulation or in an engine, that computes how likely texts continue.</summary>
internal interface IContinuationScorer
{
    /// <summary>The maximum number of tokens that the model reads.</summary>
    int MaxSequence { get; }

    /// <summary>The tokens of a text, after the token that the tokenizer puts before texts, if it does.</summary>
    int[] Encode(string text);

    /// <summary>Scores the continuations of a context.</summary>
    /// <param name="context">The tokens of the context, at least one.</param>
    /// <param name="continuations">
    /// The tokens of each continuation, at least one. The context and all but the last token of a continuation are at most <see cref="MaxSequence"/>.
    /// </param>
    /// <exception cref="NibbleException">The model computes NaN or infinite values.</exception>
    IReadOnlyList<ContinuationScore> Score(IReadOnlyList<int> context, IReadOnlyList<int[]> continuations);
}
