using Nibble.Torch.Data;
using System.Diagnostics;
using Nibble.Models;
using Nibble.Planning;
using Nibble.Torch.Models;

namespace Nibble.Torch.Planning;

/// <summary>What the advisor may use and must respect.</summary>
/// <param name="Source">The float model; unchanged afterwards.</param>
/// <param name="Data">Data to calibrate and train on; null where there are none.</param>
/// <param name="HeldOut">Data to score on, which nothing trains or calibrates on.</param>
/// <param name="Candidates">The options to weigh, at least one.</param>
internal sealed record AdvisorOptions(LoadedModel Source, ITaskData? Data, ITaskData HeldOut, IReadOnlyList<Candidate> Candidates)
{
    /// <summary>What options may take.</summary>
    public Constraints Constraints { get; init; } = new();

    /// <summary>The loss over float that counts as none, in the task's <see cref="LossUnit"/>; null is what suits the task.</summary>
    public double? Tolerance { get; init; }

    /// <summary>Seconds that the probe takes at most.</summary>
    public double ProbeSeconds { get; init; } = 120;

    /// <summary>Tokens in a held-out window, at least 4.</summary>
    public int Context { get; init; } = Math.Min(512, Source.Definition.MaxSequence);

    /// <summary>Held-out windows, or texts, at most.</summary>
    public int Windows { get; init; } = Source.Definition.Task == ModelTask.LanguageModelling ? 40 : 2000;

    /// <summary>Drives everything random.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>The command that makes an option, from the candidate and its steps of training.</summary>
    public Func<Candidate, int, string> Command { get; init; } = (candidate, _) => candidate.Name;

    /// <summary>Seconds that have passed since some moment: what the probe's time is measured by.</summary>
    public Func<double> Clock { get; init; } = () => Stopwatch.GetTimestamp() / (double)Stopwatch.Frequency;
}
