using Microsoft.Extensions.Logging;
using Nibble.Models;
using Nibble.Recipes;
using Nibble.Torch.Data;

namespace Nibble;

/// <summary>Options of <c>Quantize.Ptq</c>. The recipe decides what happens to each layer.</summary>
public record PtqOptions
{
    /// <summary>The default of <see cref="ActivationMemory"/>: 512 MiB.</summary>
    public const long DefaultActivationMemory = 1L << 29;

    /// <summary>
    /// Calibration data. Default: null, which is enough for recipes that use no activations. Cannot be combined with <see cref="DataFiles"/>.
    /// </summary>
    public ICalibrationData? Data { get; init; }

    /// <summary>
    /// Files with the calibration data, in the format of the model's task: running text for a decoder, lines of <c>text TAB label</c> for a classifier. The
    /// model is loaded once to read them. Default: none. Cannot be combined with <see cref="Data"/>.
    /// </summary>
    public IReadOnlyList<string> DataFiles { get; init; } = [];

    /// <summary>The task of the model. Default: null, which reads it from the model's folder.</summary>
    public TaskConfig? Task { get; init; }

    /// <summary>The seed for all random choices. Default: 1.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>The device for tensor computations, in libtorch's notation, for example <c>cuda:0</c>. Default: <c>cpu</c>.</summary>
    public string Device { get; init; } = "cpu";

    /// <summary>
    /// The maximum number of bytes of calibration activations to keep in memory. A larger stream is read from disk when needed. Default: 512 MiB.
    /// </summary>
    public long ActivationMemory { get; init; } = DefaultActivationMemory;

    /// <summary>Whether to delete the unfinished work of an interrupted run. Default: false, which resumes it.</summary>
    public bool Restart { get; init; }

    /// <summary>The export format that the recipe was fitted to. The summary mentions it. Default: null, none.</summary>
    public RecipeTarget? Target { get; init; }

    /// <summary>Receives warnings that do not stop the run. They are in the result's summary too. Default: null, no logging.</summary>
    public ILogger? Logger { get; init; }
}
