namespace Nibble.Onnx.Decoders;

/// <summary>The shape of a Llama-family decoder.</summary>
public sealed record DecoderShape
{
    /// <summary>Tokens in the vocabulary.</summary>
    public required int VocabularySize { get; init; }

    /// <summary>Width of the residual stream.</summary>
    public required int HiddenSize { get; init; }

    /// <summary>Width inside the feed-forward part.</summary>
    public required int IntermediateSize { get; init; }

    /// <summary>Decoder blocks.</summary>
    public required int Layers { get; init; }

    /// <summary>Query heads.</summary>
    public required int Heads { get; init; }

    /// <summary>Key and value heads; divides <see cref="Heads"/>.</summary>
    public required int KeyValueHeads { get; init; }

    /// <summary>Width of a head, even.</summary>
    public required int HeadSize { get; init; }

    /// <summary>Added to the mean square in RMSNorm.</summary>
    public required double NormEpsilon { get; init; }

    /// <summary>Radians by which each pair of a head's channels, (i, i + half), turns from one position to the next; half of <see cref="HeadSize"/>.</summary>
    public required IReadOnlyList<float> RotaryFrequencies { get; init; }

    /// <summary>Whether the head is the transposed embedding.</summary>
    public required bool TiedHead { get; init; }

    /// <summary>Whether query, key and value projections have biases.</summary>
    public bool QueryKeyValueBias { get; init; }

    /// <summary>Whether the output projection has a bias.</summary>
    public bool OutputBias { get; init; }

    /// <summary>Whether the feed-forward projections have biases.</summary>
    public bool FeedForwardBias { get; init; }

    /// <summary>Whether queries and keys are normalised per head (Qwen3).</summary>
    public bool QueryKeyNorm { get; init; }

    /// <summary>Positions that attention looks back over, the own included (Mistral); null for all.</summary>
    public int? SlidingWindow { get; init; }

    /// <summary>The most tokens that the model was made for; null where nobody says.</summary>
    public int? MaxSequence { get; init; }
}
