namespace Nibble.Torch.Evaluation;

/// <summary>A decoder that tells what follows a text, token by token, and remembers the tokens that it was given.</summary>
internal interface ITokenPredictor : IDisposable
{
    /// <summary>The most tokens that it can remember.</summary>
    int MaxSequence { get; }

    /// <summary>Goes on behind all tokens before.</summary>
    /// <param name="tokens">The new tokens, at least one; with those before, at most <see cref="MaxSequence"/>.</param>
    /// <returns>The logits of the token that follows the last, one for each token of the vocabulary.</returns>
    float[] Advance(ReadOnlySpan<int> tokens);
}
