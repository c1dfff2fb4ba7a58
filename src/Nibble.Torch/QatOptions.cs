using Nibble.Torch.Data;
using Microsoft.Extensions.Logging;
using Nibble.Models;
using Nibble.Recipes;
using Nibble.Torch.Qat;

namespace Nibble;

/// <summary>Options of <c>Quantize.Qat</c>. The recipe decides how the model is trained and what happens to each layer.</summary>
public record QatOptions
{
    /// <summary>The maximum number of windows that the model generates if <see cref="Windows"/> is null.</summary>
    public const int DefaultWindows = 512;

    /// <summary>
    /// Data to train on and to calibrate static activations with. Default: null, in which case a float decoder generates its own data (LLM-QAT, Liu et al.
    /// 2023). Cannot be combined with <see cref="DataFiles"/>.
    /// </summary>
    public ITaskData? Data { get; init; }

    /// <summary>
    /// Files with the data, in the format of the model's task: running text for a decoder, lines of <c>text TAB label</c> for a classifier. Default:
    /// none. Cannot be combined with <see cref="Data"/>.
    /// </summary>
    public IReadOnlyList<string> DataFiles { get; init; } = [];

    /// <summary>
    /// The number of windows that the model generates if there are no data, at least 1. Default: null, one for each window that training uses, up to
    /// <see cref="DefaultWindows"/>.
    /// </summary>
    public int? Windows { get; init; }

    /// <summary>The task of the model. Default: null, which reads it from the model's folder.</summary>
    public TaskConfig? Task { get; init; }

    /// <summary>The seed for all random choices. Default: 1.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>Steps between two checkpoints, at least 1. Default: null, about one checkpoint per minute. A run in memory saves none.</summary>
    public int? CheckpointEvery { get; init; }

    /// <summary>
    /// Where to keep the predictions of the recipe's teacher so that other runs can reuse them. Default: null, which computes them each time.
    /// </summary>
    public TeacherCacheOptions? TeacherCache { get; init; }

    /// <summary>Whether to delete the unfinished work of an interrupted run. Default: false, which resumes it.</summary>
    public bool Restart { get; init; }

    /// <summary>The export format that the recipe was fitted to. The summary mentions it. Default: null, none.</summary>
    public RecipeTarget? Target { get; init; }

    /// <summary>Receives warnings that do not stop the run. They are in the result's summary too. Default: null, no logging.</summary>
    public ILogger? Logger { get; init; }
}
