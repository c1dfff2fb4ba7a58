using Nibble.Torch.Evaluation;

namespace Nibble.Cli.Engines;

/// <summary>A decoder that something else than Nibble computes.</summary>
internal interface IDecoderEngine : ITokenPredictor
{
    /// <summary>Tokens of the model's vocabulary, as the engine sees it.</summary>
    int VocabularySize { get; }

    /// <summary>The logits of a window's positions from one on, without those of the last. Forgets what was given to
    /// <see cref="ITokenPredictor.Advance"/>.</summary>
    /// <returns>[positions, vocabulary], row by row.</returns>
    float[] Score(ReadOnlySpan<int> tokens, int first);

    /// <summary>Continues a prompt by the likeliest tokens. Forgets what was given to <see cref="ITokenPredictor.Advance"/>.</summary>
    int[] Continue(ReadOnlySpan<int> prompt, int count);
}
