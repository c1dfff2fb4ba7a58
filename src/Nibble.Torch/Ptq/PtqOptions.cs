using Nibble.Models;
using Nibble.Recipes;
using Nibble.Torch.Data;

namespace Nibble.Torch.Ptq;

/// <summary>What a run of post-training quantization is to do.</summary>
/// <param name="Model">The float checkpoint's folder.</param>
/// <param name="Recipe">What to do with each layer.</param>
/// <param name="Output">The artifact's folder, which must not exist yet; the unfinished work stands beside it in <c>OUTPUT.job</c>.</param>
public sealed record PtqOptions(string Model, Recipe Recipe, string Output)
{
    /// <summary>What <see cref="ActivationMemory"/> is unless said otherwise.</summary>
    public const long DefaultActivationMemory = 1L << 29;

    /// <summary>Calibration data; null is enough for recipes that look at no activations.</summary>
    public ICalibrationData? Data { get; init; }

    /// <summary>What the model is for; null is what its folder says.</summary>
    public TaskConfig? Task { get; init; }

    /// <summary>Drives everything random.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>Where tensors are worked on, as libtorch names it, such as <c>cpu</c> or <c>cuda:0</c>.</summary>
    public string Device { get; init; } = "cpu";

    /// <summary>Bytes up to which a stream of calibration activations is held in memory; a larger one is read from disk when needed.</summary>
    public long ActivationMemory { get; init; } = DefaultActivationMemory;

    /// <summary>Whether what an interrupted run has left is thrown away.</summary>
    public bool Restart { get; init; }

    /// <summary>How each block is trained once its codes are chosen; null leaves it at that.</summary>
    internal QatSettings? Training { get; init; }

    /// <summary>What the weights are rounded to on trial; null for nothing.</summary>
    internal TrialRounding? Trials { get; init; }

    /// <summary>Whether the artifact gets checksums, as unfinished work of another run that resumes from it.</summary>
    internal bool Checksummed { get; init; }

    /// <summary>The format that the recipe was fitted to, of which the summary then speaks; null for none.</summary>
    public RecipeTarget? Target { get; init; }

    /// <summary>Whether the run is a part of another, whose text serves for more than calibration.</summary>
    internal bool IsPart { get; init; }

    /// <summary>Told what the user should know although the run goes on.</summary>
    public Action<string>? Warn { get; init; }
}

/// <summary>What a run of post-training quantization has made.</summary>
/// <param name="Model">What the model is called.</param>
/// <param name="Layers">Quantized layers.</param>
/// <param name="SourceBytes">Bytes of the checkpoint's tensors on disk.</param>
/// <param name="Bytes">Bytes of the artifact's tensors on disk.</param>
/// <param name="Calibration">What text activations were looked at on, in words; null where none was.</param>
public sealed record QuantizationResult(string Model, int Layers, long SourceBytes, long Bytes, string? Calibration = null)
{
    /// <summary>What became of each layer, and what the user should know. What blocks warned of that an interrupted run had finished is not repeated.</summary>
    public RunSummary Summary { get; init; } = RunSummary.Empty;
}
