using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Models;

namespace Nibble.Torch.Planning;

/// <summary>Options for a study of a model's layers.</summary>
/// <param name="Source">The float model.</param>
/// <param name="Data">The data. The last windows or texts are held out for measurements, and the first are used for calibration.</param>
/// <param name="Recipes">The recipes to try on each layer. Each has one algorithm and one bit width and quantizes only weights.</param>
/// <param name="CacheFolder">The folder for measurements.</param>
internal sealed record StudyOptions(LoadedModel Source, ITaskData Data, IReadOnlyList<Recipe> Recipes, string CacheFolder)
{
    /// <summary>The default maximum number of windows to measure on.</summary>
    public const int DefaultWindows = 32;

    /// <summary>The default maximum number of texts to measure on.</summary>
    public const int DefaultTexts = 1000;

    /// <summary>The maximum number of windows or texts to measure on, at least 1. At most half of the data are held out.</summary>
    public int Windows { get; init; } = Data is TokenizedText ? DefaultWindows : DefaultTexts;

    /// <summary>Tokens per window, at least 4. Default: 512.</summary>
    public int Context { get; init; } = 512;

    /// <summary>The seed for all random choices. Default: 1.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>Splits the data into the calibration part and the held-out part.</summary>
    /// <exception cref="NibbleException">The text is shorter than two windows.</exception>
    internal (ITaskData Calibration, ITaskData HeldOut) Split()
    {
        var windows = Math.Min(Windows, Data.CountPieces(Context) / 2);
        return windows > 0 ? Data.Cut(windows, Context)
            : throw new NibbleException(Data is TokenizedText
                ? $"{Data.Name}: the text has {Data.Count} tokens, expected at least two windows of {Context}, because one is held out. Provide a longer text "
                    + $"or use shorter windows"
                : $"{Data.Name}: the data have {Data.Count} lines, expected at least two, because one is held out. Provide more data");
    }
}
