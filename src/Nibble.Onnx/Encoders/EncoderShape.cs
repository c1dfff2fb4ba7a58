namespace Nibble.Onnx.Encoders;

/// <summary>How a family of encoders names its tensors and builds its head.</summary>
public enum EncoderFamily
{
    /// <summary>BERT (Devlin et al. 2019).</summary>
    Bert,

    /// <summary>RoBERTa (Liu et al. 2019).</summary>
    Roberta,

    /// <summary>DistilBERT (Sanh et al. 2019).</summary>
    DistilBert,
}

/// <summary>The shape of a BERT-family encoder that classifies sequences.</summary>
public sealed record EncoderShape
{
    /// <summary>The family.</summary>
    public required EncoderFamily Family { get; init; }

    /// <summary>Tokens in the vocabulary.</summary>
    public required int VocabularySize { get; init; }

    /// <summary>Width of the residual stream.</summary>
    public required int HiddenSize { get; init; }

    /// <summary>Width inside the feed-forward part.</summary>
    public required int IntermediateSize { get; init; }

    /// <summary>Encoder layers.</summary>
    public required int Layers { get; init; }

    /// <summary>Attention heads; divides <see cref="HiddenSize"/>.</summary>
    public required int Heads { get; init; }

    /// <summary>Rows of the table of positions.</summary>
    public required int MaxPositions { get; init; }

    /// <summary>The row of the table of positions that the first token takes.</summary>
    public required int FirstPosition { get; init; }

    /// <summary>Rows of the table of token types; 0 where the family has none.</summary>
    public required int TokenTypes { get; init; }

    /// <summary>Classes.</summary>
    public required int Labels { get; init; }

    /// <summary>Added to the variance in layer normalisation.</summary>
    public required double NormEpsilon { get; init; }
}
