using Nibble.Torch.Data;
using System.Diagnostics;
using Nibble.Models;
using Nibble.Planning;
using Nibble.Torch.Models;

namespace Nibble.Torch.Planning;

/// <summary>Options of the advisor.</summary>
/// <param name="Source">The float model. It is unchanged afterwards.</param>
/// <param name="Data">Data to calibrate and train on. Null if there are none.</param>
/// <param name="HeldOut">Data to score on. They are not used for training or calibration.</param>
/// <param name="Candidates">The quantization options to compare, at least one.</param>
internal sealed record AdvisorOptions(LoadedModel Source, ITaskData? Data, ITaskData HeldOut, IReadOnlyList<Candidate> Candidates)
{
    /// <summary>The limits that options must meet.</summary>
    public Constraints Constraints { get; init; } = new();

    /// <summary>The loss over float that counts as none, in the task's <see cref="LossUnit"/>. Default: null, a value that suits the task.</summary>
    public double? Tolerance { get; init; }

    /// <summary>The maximum duration of the probe in seconds. Default: 120.</summary>
    public double ProbeSeconds { get; init; } = 120;

    /// <summary>Tokens per held-out window, at least 4. Default: 512 or the model's maximum, whichever is smaller.</summary>
    public int Context { get; init; } = Math.Min(512, Source.Definition.MaxSequence);

    /// <summary>The maximum number of held-out windows or texts. Default: 40 for language models, otherwise 2000.</summary>
    public int Windows { get; init; } = Source.Definition.Task == ModelTask.LanguageModelling ? 40 : 2000;

    /// <summary>The seed for all random choices. Default: 1.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>Returns the command that produces an option, from the candidate and its number of training steps. Default: the candidate's name.</summary>
    public Func<Candidate, int, string> Command { get; init; } = (candidate, _) => candidate.Name;

    /// <summary>The clock that measures the probe's time, in seconds from an arbitrary moment.</summary>
    public Func<double> Clock { get; init; } = () => Stopwatch.GetTimestamp() / (double)Stopwatch.Frequency;
}
