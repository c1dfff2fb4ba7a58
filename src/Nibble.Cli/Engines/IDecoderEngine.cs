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

    /// <summary>Continues a prompt greedily. Discards the state of <see cref="ITokenPredictor.Advance"/>.</summary>
    int[] Continue(ReadOnlySpan<int> prompt, int count);
}
