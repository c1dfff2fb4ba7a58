using Nibble.Torch.Models;

namespace Nibble.Torch.Data;

/// <summary>Data to run through a model for calibration.</summary>
public interface ICalibrationData
{
    /// <summary>The name of the data, for messages.</summary>
    string Name { get; }

    /// <summary>Selects some of the data.</summary>
    /// <param name="count">The number of windows. For separate texts, enough texts are selected to hold as many tokens as these windows.</param>
    /// <param name="length">Tokens per window, or the maximum per text.</param>
    /// <param name="seed">The seed that selects texts. Running text is used from its start.</param>
    /// <exception cref="NibbleException">The data are too short for one window.</exception>
    CalibrationPieces Pieces(int count, int length, long seed);
}

/// <summary>Sequences for calibration.</summary>
/// <param name="Sequences">The sequences. Those of similar length are next to each other.</param>
/// <param name="Description">A description of the sequences, for messages.</param>
public sealed record CalibrationPieces(IReadOnlyList<TokenSequence> Sequences, string Description)
{
    /// <summary>Tokens per sequence for windows of a running text. Null for separate texts, which have different lengths.</summary>
    public int? WindowTokens { get; init; }

    /// <summary>The total number of tokens.</summary>
    public long Tokens => Sequences.Sum(sequence => (long)sequence.Ids.Length);
}
