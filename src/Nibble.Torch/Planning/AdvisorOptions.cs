using System.Diagnostics;
using Nibble.Planning;
using Nibble.Torch.Data;
using Nibble.Torch.Models;

namespace Nibble.Torch.Planning;

/// <summary>What the advisor may use and must respect.</summary>
/// <param name="Source">The float model; unchanged afterwards.</param>
/// <param name="Text">Text to calibrate and train on; null where there is none.</param>
/// <param name="HeldOut">Text to score on, which nothing trains or calibrates on.</param>
/// <param name="Candidates">The options to weigh, at least one.</param>
public sealed record AdvisorOptions(LoadedModel Source, TokenizedText? Text, TokenizedText HeldOut, IReadOnlyList<Candidate> Candidates)
{
    /// <summary>What options may take.</summary>
    public Constraints Constraints { get; init; } = new();

    /// <summary>The loss over float that counts as none, nats per token.</summary>
    public double Tolerance { get; init; } = Thresholds.SmallLoss;

    /// <summary>Seconds that the probe takes at most.</summary>
    public double ProbeSeconds { get; init; } = 120;

    /// <summary>Tokens in a held-out window, at least 4.</summary>
    public int Context { get; init; } = Math.Min(512, Source.Model.Config.MaxSequence);

    /// <summary>Held-out windows at most.</summary>
    public int Windows { get; init; } = 40;

    /// <summary>Drives everything random.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>The command that makes an option, from the candidate and its steps of training.</summary>
    public Func<Candidate, int, string> Command { get; init; } = (candidate, _) => candidate.Name;

    /// <summary>Seconds that have passed since some moment: what the probe's time is measured by.</summary>
    public Func<double> Clock { get; init; } = () => Stopwatch.GetTimestamp() / (double)Stopwatch.Frequency;
}
