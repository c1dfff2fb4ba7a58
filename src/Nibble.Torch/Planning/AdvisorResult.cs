using Nibble.Models;
using Nibble.Planning;

namespace Nibble.Torch.Planning;

/// <summary>Short trainings of one candidate, or of the float control.</summary>
/// <param name="Name">The candidate's name, or <c>float control</c>.</param>
/// <param name="Points">Loss over the float model on held-out text, by length.</param>
internal sealed record ProbeCurve(string Name, IReadOnlyList<LengthPoint> Points);

/// <summary>What the advisor found.</summary>
/// <param name="Shape">The model's sizes.</param>
/// <param name="FloatLoss">The float model's loss on the held-out data; null where the task has none.</param>
/// <param name="Windows">Held-out windows, texts or pairs scored.</param>
/// <param name="Tokens">Tokens scored, where it is tokens that are predicted; otherwise <paramref name="Windows"/>.</param>
/// <param name="Control">What training the float model for the full number of steps would do to its loss; null where it was not trained,
/// such as where all that trains learns from the float model as it is.</param>
/// <param name="Options">All options.</param>
/// <param name="Decision">What to do.</param>
/// <param name="Curves">The short trainings.</param>
/// <param name="Sensitivity">What the layers cost one at a time, by round to nearest, for the widths that there was time for.</param>
/// <param name="ProbeSeconds">Seconds that the probe took.</param>
/// <param name="Machine">What the machine does in matrix products and copies, measured.</param>
/// <param name="Threads">Threads of libtorch meanwhile.</param>
internal sealed record AdvisorResult(
    ModelShape Shape,
    double? FloatLoss,
    int Windows,
    long Tokens,
    Estimate? Control,
    IReadOnlyList<PlannedOption> Options,
    Decision Decision,
    IReadOnlyList<ProbeCurve> Curves,
    IReadOnlyList<LayerDistance> Sensitivity,
    double ProbeSeconds,
    Hardware Machine,
    int Threads)
{
    /// <summary>What the model is for, and so what losses are measured in.</summary>
    public ModelTask Task { get; init; } = ModelTask.LanguageModelling;

    /// <summary>Which losses counted as small, worth training for, and usable.</summary>
    public LossLimits Limits { get; init; } = LossLimits.For(ModelTask.LanguageModelling, 0);
}
