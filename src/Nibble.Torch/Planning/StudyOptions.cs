using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Models;

namespace Nibble.Torch.Planning;

/// <summary>What a study of a model's layers looks at.</summary>
/// <param name="Source">The float model.</param>
/// <param name="Text">A text; its last windows are held out to measure on, its first ones calibrate.</param>
/// <param name="Recipes">What is tried on each layer: recipes of one algorithm and width each, which look at weights alone.</param>
/// <param name="CacheFolder">Where measurements are kept.</param>
public sealed record StudyOptions(LoadedModel Source, TokenizedText Text, IReadOnlyList<Recipe> Recipes, string CacheFolder)
{
    /// <summary>Windows to measure on at most, at least 1; no more than half of the text is held out.</summary>
    public int Windows { get; init; } = 32;

    /// <summary>Tokens in such a window, at least 4.</summary>
    public int Context { get; init; } = 512;

    /// <summary>Drives everything random.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>The text without what is held out, and what is held out.</summary>
    /// <exception cref="NibbleException">The text is shorter than two windows.</exception>
    internal (TokenizedText Calibration, TokenizedText HeldOut) Split()
    {
        var windows = Math.Min(Windows, Text.WindowCount(Context) / 2);
        if (windows == 0)
        {
            throw new NibbleException($"{Text.Name}: the text has {Text.Ids.Length} tokens, expected at least two windows of {Context}, one of them to measure on; give a longer text or shorter windows");
        }

        var tokens = windows * Context;
        return (Text with { Ids = Text.Ids[..^tokens] }, Text with { Ids = Text.Ids[^tokens..] });
    }
}
