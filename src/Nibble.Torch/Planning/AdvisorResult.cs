using Nibble.Models;
using Nibble.Planning;

namespace Nibble.Torch.Planning;

/// <summary>Short training runs of one candidate or of the float control.</summary>
/// <param name="Name">The candidate's name, or <c>float control</c>.</param>
/// <param name="Points">The loss over the float model on held-out data, by length.</param>
internal sealed record ProbeCurve(string Name, IReadOnlyList<LengthPoint> Points);

/// <summary>The advisor's result.</summary>
/// <param name="Shape">The model's sizes.</param>
/// <param name="FloatLoss">The float model's loss on the held-out data. Null if the task has none.</param>
/// <param name="Windows">The number of held-out windows, texts or pairs that were scored.</param>
/// <param name="Tokens">The number of scored tokens if the task predicts tokens. Otherwise <paramref name="Windows"/>.</param>
/// <param name="Control">
/// The predicted change of the float model's loss after the full number of training steps. Null if it was not trained, for example because every trained
/// option learns from the unchanged float model.
/// </param>
/// <param name="Options">All options.</param>
/// <param name="Decision">The recommendation.</param>
/// <param name="Curves">The short training runs.</param>
/// <param name="Sensitivity">The cost of quantizing each layer separately with round to nearest, for the widths that there was time for.</param>
/// <param name="ProbeSeconds">The duration of the probe in seconds.</param>
/// <param name="Machine">The measured speed of the machine in matrix products and copies.</param>
/// <param name="Threads">The number of libtorch threads during the probe.</param>
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
    /// <summary>The task of the model, which defines the unit of losses.</summary>
    public ModelTask Task { get; init; } = ModelTask.LanguageModelling;

    /// <summary>The limits for losses that count as small, worth training for, and usable.</summary>
    public LossLimits Limits { get; init; } = LossLimits.For(ModelTask.LanguageModelling, 0);
}
