using Nibble.Recipes;

namespace Nibble.Torch.Ptq;

/// <summary>A PTQ run from a checkpoint to an artifact.</summary>
internal sealed record PtqRequest : PtqOptions
{
    /// <summary>Creates a request.</summary>
    /// <param name="model">The folder of the float checkpoint.</param>
    /// <param name="recipe">What to do with each layer.</param>
    /// <param name="output">
    /// The artifact's folder, which must not exist yet. Unfinished work is kept next to it in <c>OUTPUT.job</c>.
    /// </param>
    /// <param name="options">The options. Default: null, all defaults.</param>
    public PtqRequest(string model, Recipe recipe, string output, PtqOptions? options = null)
        : base(options ?? new PtqOptions()) => (Model, Recipe, Output) = (model, recipe, output);

    /// <summary>The folder of the float checkpoint.</summary>
    public string Model { get; }

    /// <summary>What to do with each layer.</summary>
    public Recipe Recipe { get; init; }

    /// <summary>The artifact's folder.</summary>
    public string Output { get; init; }

    /// <summary>How to train each block after its codes are chosen. Default: null, no training.</summary>
    public QatSettings? Training { get; init; }

    /// <summary>Additional rounding of the weights on trial. Default: null, none.</summary>
    public TrialRounding? Trials { get; init; }

    /// <summary>Whether the artifact gets checksums because it is unfinished work of another run, which resumes from it.</summary>
    public bool Checksummed { get; init; }

    /// <summary>Whether the run is part of another run that also uses the data for other purposes than calibration.</summary>
    public bool IsPart { get; init; }

    /// <summary>Receives warnings for the run that this run is part of, instead of a log. Default: null, none.</summary>
    public Action<string>? Warn { get; init; }

    /// <summary>Reports a warning.</summary>
    public void Tell(string warning)
    {
        Warn?.Invoke(warning);
        Logger?.Advise(warning);
    }
}
