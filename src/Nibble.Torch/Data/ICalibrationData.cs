using Nibble.Torch.Models;

namespace Nibble.Torch.Data;

/// <summary>Data that a model is shown to see what goes through it.</summary>
public interface ICalibrationData
{
    /// <summary>What the data are called, for messages.</summary>
    string Name { get; }

    /// <summary>Some of the data.</summary>
    /// <param name="count">How many windows are wanted; of texts, as many as hold the tokens of these windows.</param>
    /// <param name="length">Tokens in a window, and in a text at most.</param>
    /// <param name="seed">Drives which texts are taken; a long text is taken from its beginning.</param>
    /// <exception cref="NibbleException">There are too few for one window.</exception>
    CalibrationPieces Pieces(int count, int length, long seed);
}

/// <summary>Sequences to look at.</summary>
/// <param name="Sequences">The sequences, those of like length together.</param>
/// <param name="Description">What they are, in words.</param>
public sealed record CalibrationPieces(IReadOnlyList<TokenSequence> Sequences, string Description)
{
    /// <summary>Tokens in each, where they are windows of a text; null where they are texts, which have lengths of their own.</summary>
    public int? WindowTokens { get; init; }

    /// <summary>Tokens of all of them.</summary>
    public long Tokens => Sequences.Sum(sequence => (long)sequence.Ids.Length);
}
