using Microsoft.Extensions.Logging;
using Nibble.Models;
using Nibble.Recipes;
using Nibble.Torch.Data;

namespace Nibble;

/// <summary>How <c>Quantize.Ptq</c> runs; what it does with each layer says the recipe.</summary>
public record PtqOptions
{
    /// <summary>What <see cref="ActivationMemory"/> is unless said otherwise: 512 MiB.</summary>
    public const long DefaultActivationMemory = 1L << 29;

    /// <summary>Calibration data; null, the default, is enough for recipes that look at no activations. Not beside <see cref="DataFile"/>.</summary>
    public ICalibrationData? Data { get; init; }

    /// <summary>
    /// A file with the calibration data, in the form that the model's task takes: a text for a decoder, lines <c>text TAB label</c> for a classifier. The model
    /// is loaded once to read it. Null, the default, for none. Not beside <see cref="Data"/>.
    /// </summary>
    public string? DataFile { get; init; }

    /// <summary>What the model is for; null, the default, is what its folder says.</summary>
    public TaskConfig? Task { get; init; }

    /// <summary>Drives everything random; 1 when not given.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>Where tensors are worked on, as libtorch names it, such as <c>cuda:0</c>; <c>cpu</c> when not given.</summary>
    public string Device { get; init; } = "cpu";

    /// <summary>Bytes up to which a stream of calibration activations is held in memory; a larger one is read from disk when needed.</summary>
    public long ActivationMemory { get; init; } = DefaultActivationMemory;

    /// <summary>Whether what an interrupted run has left beside the output is thrown away; false, the default, resumes it.</summary>
    public bool Restart { get; init; }

    /// <summary>The format that the recipe was fitted to, of which the summary then speaks; null, the default, for none.</summary>
    public RecipeTarget? Target { get; init; }

    /// <summary>Told what the user should know although the run goes on; null, the default, for nobody. The result's summary says it too.</summary>
    public ILogger? Logger { get; init; }
}
