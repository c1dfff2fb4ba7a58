using Nibble.Torch.Evaluation;

namespace Nibble.Cli.Engines;

/// <summary>A decoder that runs in an engine other than Nibble.</summary>
internal interface IDecoderEngine : ITokenPredictor
{
    /// <summary>The model's vocabulary size, as the engine reports it.</summary>
    int VocabularySize { get; }

    /// <summary>The logits of a window's positions from <paramref name="first"/> to the last but one. Discards the state of
    /// <see cref="ITokenPredictor.Advance"/>.</summary>
    /// <returns>[positions, vocabulary], row by row.</returns>
    float[] Score(ReadOnlySpan<int> tokens, int first);

    /// <summary>The logits of the positions from <paramref name="first"/> to the last. Discards the state of <see cref="ITokenPredictor.Advance"/>.</summary>
    /// <param name="tokens">The tokens, from 1 to <see cref="ITokenPredictor.MaxSequence"/>. Those that begin as in the last call need not be computed
    /// again.</param>
    /// <param name="first">The first position whose logits are wanted.</param>
    /// <returns>[positions, vocabulary], row by row.</returns>
    float[] Predict(ReadOnlySpan<int> tokens, int first);

    /// <summary>Continues a prompt greedily. Discards the state of <see cref="ITokenPredictor.Advance"/>.</summary>
    int[] Continue(ReadOnlySpan<int> prompt, int count);
}
