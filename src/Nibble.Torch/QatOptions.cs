using Nibble.Torch.Data;
using Microsoft.Extensions.Logging;
using Nibble.Models;
using Nibble.Recipes;
using Nibble.Torch.Qat;

namespace Nibble;

/// <summary>How <c>Quantize.Qat</c> runs; how a model is trained, and what becomes of each layer, says the recipe.</summary>
public record QatOptions
{
    /// <summary>Windows that the model writes at most, where their number is not given.</summary>
    public const int UsualWindows = 512;

    /// <summary>
    /// Data to train on, and to calibrate static activations with; null, the default, lets a float decoder write them (LLM-QAT, Liu et al. 2023). Not beside
    /// <see cref="DataFile"/>.
    /// </summary>
    public ITaskData? Data { get; init; }

    /// <summary>
    /// A file with the data, in the form that the model's task takes: a text for a decoder, lines <c>text TAB label</c> for a classifier. Null, the default,
    /// for none. Not beside <see cref="Data"/>.
    /// </summary>
    public string? DataFile { get; init; }

    /// <summary>
    /// Windows that the model writes where there are no data, at least 1; null, the default, is one for each that training looks at, up to
    /// <see cref="UsualWindows"/>.
    /// </summary>
    public int? Windows { get; init; }

    /// <summary>What the model is for; null, the default, is what its folder says.</summary>
    public TaskConfig? Task { get; init; }

    /// <summary>Drives everything random; 1 when not given.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>Steps between two checkpoints, at least 1; null, the default, saves after about each minute. A run in memory saves nothing.</summary>
    public int? CheckpointEvery { get; init; }

    /// <summary>Where the predictions of a teacher that the recipe asks for are kept for other runs; null, the default, computes them each time.</summary>
    public TeacherCacheOptions? TeacherCache { get; init; }

    /// <summary>Whether what an interrupted run has left beside the output is thrown away; false, the default, resumes it.</summary>
    public bool Restart { get; init; }

    /// <summary>The format that the recipe was fitted to, of which the summary then speaks; null, the default, for none.</summary>
    public RecipeTarget? Target { get; init; }

    /// <summary>Told what the user should know although the run goes on; null, the default, for nobody. The result's summary says it too.</summary>
    public ILogger? Logger { get; init; }
}
