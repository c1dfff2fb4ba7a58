using System.Diagnostics;
using System.Globalization;

namespace Nibble.Cli.Rendering;

/// <summary>A stage of long work: how far it is, how fast it is, and when it will be done.</summary>
internal sealed class ProgressStage
{
    private static readonly CultureInfo Invariant = CultureInfo.InvariantCulture;

    private readonly long first;
    private readonly long started = Stopwatch.GetTimestamp();
    private long reported;
    private RunProgress value;

    public ProgressStage(string run, RunProgress value)
    {
        Run = run;
        first = value.Done;
        this.value = value;
        reported = started;
    }

    /// <summary>The run that it belongs to; empty where there is but one.</summary>
    public string Run { get; }

    /// <summary>What is being done.</summary>
    public string Name => value.Stage;

    /// <summary>The run and what is being done in it.</summary>
    public string Label => Run.Length > 0 ? $"{Run}: {Name}" : Name;

    /// <summary>How many units are done of how many.</summary>
    public string Count => string.Create(Invariant, $"{value.Done}/{value.Total}{(value.Unit is { } unit ? " " + unit : string.Empty)}");

    /// <summary>The part that is done, 0 to 1.</summary>
    public double Share => value.Total > 0 ? Math.Clamp((double)value.Done / value.Total, 0, 1) : 1;

    /// <summary>Whether all of it is done.</summary>
    public bool IsDone => value.Done >= value.Total;

    /// <summary>What training tells of itself.</summary>
    public IEnumerable<string> Losses
    {
        get
        {
            if (value.Loss is { } loss)
            {
                yield return string.Create(Invariant, $"loss {loss:F3}");
            }

            if (value.Perplexity is { } perplexity)
            {
                yield return string.Create(Invariant, $"perplexity {perplexity:F2}");
            }

            if (value.HeldOutLoss is { } heldOut)
            {
                yield return string.Create(Invariant, $"held out {heldOut:F3}");
            }
        }
    }

    /// <summary>How fast it is; null as long as that is not known.</summary>
    public string? Speed => Rate switch
    {
        null => null,
        { } rate when value.Tokens > 0 => string.Create(Invariant, $"{rate * value.Tokens:F0} tokens/s"),
        >= 1 and { } rate => string.Create(Invariant, $"{rate:F1}{(value.Unit is { } unit ? " " + unit : string.Empty)}/s"),
        { } rate => string.Create(Invariant, $"{1 / rate:F1} s each"),
    };

    /// <summary>The time that it will still take; null as long as that is not known, and once it is done.</summary>
    public string? TimeLeft => IsDone || Rate is not { } rate ? null : SecondsLeft(rate) switch
    {
        < 100 and var seconds => string.Create(Invariant, $"{seconds:F0} s left"),
        < 6000 and var seconds => string.Create(Invariant, $"{seconds / 60:F0} min left"),
        var seconds => string.Create(Invariant, $"{seconds / 3600:F1} h left"),
    };

    /// <summary>Units a second, from the first unit's end on, so that neither warming up counts nor what a run before has done.</summary>
    private double? Rate =>
        value.Done > first && Stopwatch.GetElapsedTime(started, reported).TotalSeconds is > 0 and var seconds ? (value.Done - first) / seconds : null;

    private double SecondsLeft(double rate) => Math.Max(1, ((value.Total - value.Done) / rate) - Stopwatch.GetElapsedTime(reported).TotalSeconds);

    /// <summary>Takes another report.</summary>
    /// <returns>False where it begins another stage.</returns>
    public bool Continue(string run, RunProgress next)
    {
        if (run != Run || next.Stage != Name || next.Total != value.Total || next.Done <= first || (IsDone && next.Done <= value.Done))
        {
            return false;
        }

        value = next;
        reported = Stopwatch.GetTimestamp();
        return true;
    }
}
