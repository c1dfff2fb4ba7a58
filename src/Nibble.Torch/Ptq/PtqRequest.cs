using Nibble.Recipes;

namespace Nibble.Torch.Ptq;

/// <summary>What a run of post-training quantization is to do.</summary>
internal sealed record PtqRequest : PtqOptions
{
    /// <summary>Asks for a run.</summary>
    /// <param name="model">The float checkpoint's folder.</param>
    /// <param name="recipe">What to do with each layer.</param>
    /// <param name="output">The artifact's folder, which must not exist yet; the unfinished work stands beside it in <c>OUTPUT.job</c>.</param>
    /// <param name="options">How; null for the defaults.</param>
    public PtqRequest(string model, Recipe recipe, string output, PtqOptions? options = null)
        : base(options ?? new PtqOptions()) => (Model, Recipe, Output) = (model, recipe, output);

    /// <summary>The float checkpoint's folder.</summary>
    public string Model { get; }

    /// <summary>What to do with each layer.</summary>
    public Recipe Recipe { get; init; }

    /// <summary>The artifact's folder.</summary>
    public string Output { get; init; }

    /// <summary>How each block is trained once its codes are chosen; null leaves it at that.</summary>
    public QatSettings? Training { get; init; }

    /// <summary>What the weights are rounded to on trial; null for nothing.</summary>
    public TrialRounding? Trials { get; init; }

    /// <summary>Whether the artifact gets checksums, as unfinished work of another run that resumes from it.</summary>
    public bool Checksummed { get; init; }

    /// <summary>Whether the run is a part of another, whose text serves for more than calibration.</summary>
    public bool IsPart { get; init; }

    /// <summary>The run that this is a part of is told instead of a log; null for none.</summary>
    public Action<string>? Warn { get; init; }

    /// <summary>Tells what the user should know.</summary>
    public void Tell(string warning)
    {
        Warn?.Invoke(warning);
        Logger?.Advise(warning);
    }
}
