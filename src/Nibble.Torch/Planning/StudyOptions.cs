using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Models;

namespace Nibble.Torch.Planning;

/// <summary>What a study of a model's layers looks at.</summary>
/// <param name="Source">The float model.</param>
/// <param name="Data">Data; the last windows or texts are held out to measure on, the first ones calibrate.</param>
/// <param name="Recipes">What is tried on each layer: recipes of one algorithm and width each, which look at weights alone.</param>
/// <param name="CacheFolder">Where measurements are kept.</param>
internal sealed record StudyOptions(LoadedModel Source, ITaskData Data, IReadOnlyList<Recipe> Recipes, string CacheFolder)
{
    /// <summary>Windows to measure on at most where none are asked for.</summary>
    public const int UsualWindows = 32;

    /// <summary>Texts to measure on at most where none are asked for.</summary>
    public const int UsualTexts = 1000;

    /// <summary>Windows or texts to measure on at most, at least 1; no more than half of the data are held out.</summary>
    public int Windows { get; init; } = Data is TokenizedText ? UsualWindows : UsualTexts;

    /// <summary>Tokens in such a window, at least 4.</summary>
    public int Context { get; init; } = 512;

    /// <summary>Drives everything random.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>The text without what is held out, and what is held out.</summary>
    /// <exception cref="NibbleException">The text is shorter than two windows.</exception>
    internal (ITaskData Calibration, ITaskData HeldOut) Split()
    {
        var windows = Math.Min(Windows, Data.CountPieces(Context) / 2);
        return windows > 0 ? Data.Cut(windows, Context)
            : throw new NibbleException(Data is TokenizedText
                ? $"{Data.Name}: the text has {Data.Count} tokens, expected at least two windows of {Context}, one of them to measure on; give a longer text "
                    + $"or shorter windows"
                : $"{Data.Name}: the data have {Data.Count} lines, expected at least two, one of them to measure on; give more of them");
    }
}
