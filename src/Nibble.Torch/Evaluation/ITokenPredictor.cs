namespace Nibble.Torch.Evaluation;

/// <summary>A decoder that predicts a text token by token and remembers the tokens it has received.</summary>
internal interface ITokenPredictor : IDisposable
{
    /// <summary>The maximum number of tokens that it can remember.</summary>
    int MaxSequence { get; }

    /// <summary>Continues after all earlier tokens.</summary>
    /// <param name="tokens">The new tokens, at least one. Together with the earlier ones, at most <see cref="MaxSequence"/>.</param>
    /// <returns>The logits of the token after the last one, one per token of the vocabulary.</returns>
    float[] Advance(ReadOnlySpan<int> tokens);
}
