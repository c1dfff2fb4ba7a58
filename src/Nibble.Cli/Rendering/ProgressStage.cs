using System.Diagnostics;
using System.Globalization;

namespace Nibble.Cli.Rendering;

/// <summary>A stage of long work: its progress, its speed and its remaining time.</summary>
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

    /// <summary>The run that the stage belongs to; empty if there is only one.</summary>
    public string Run { get; }

    /// <summary>The name of the stage.</summary>
    public string Name => value.Stage;

    /// <summary>The run and the stage.</summary>
    public string Label => Run.Length > 0 ? $"{Run}: {Name}" : Name;

    /// <summary>The units done, and their total.</summary>
    public string Count => string.Create(Invariant, $"{value.Done}/{value.Total}{(value.Unit is { } unit ? " " + unit : string.Empty)}");

    /// <summary>The share that is done, 0 to 1.</summary>
    public double Share => value.Total > 0 ? Math.Clamp((double)value.Done / value.Total, 0, 1) : 1;

    /// <summary>Whether the stage is done.</summary>
    public bool IsDone => value.Done >= value.Total;

    /// <summary>The losses that a training reports.</summary>
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

    /// <summary>The speed; null while it is unknown.</summary>
    public string? Speed => Rate switch
    {
        null => null,
        { } rate when value.Tokens > 0 => string.Create(Invariant, $"{rate * value.Tokens:F0} tokens/s"),
        >= 1 and { } rate => string.Create(Invariant, $"{rate:F1}{(value.Unit is { } unit ? " " + unit : string.Empty)}/s"),
        { } rate => string.Create(Invariant, $"{1 / rate:F1} s each"),
    };

    /// <summary>The remaining time; null while it is unknown, and once the stage is done.</summary>
    public string? TimeLeft => IsDone || Rate is not { } rate ? null : Left(SecondsLeft(rate));

    /// <summary>A remaining time in words.</summary>
    public static string Left(double seconds) => seconds switch
    {
        < 100 => string.Create(Invariant, $"{seconds:F0} s left"),
        < 6000 => string.Create(Invariant, $"{seconds / 60:F0} min left"),
        _ => string.Create(Invariant, $"{seconds / 3600:F1} h left"),
    };

    /// <summary>Units per second since the end of the first unit, so that neither warm-up nor resumed work counts.</summary>
    private double? Rate =>
        value.Done > first && Stopwatch.GetElapsedTime(started, reported).TotalSeconds is > 0 and var seconds ? (value.Done - first) / seconds : null;

    private double SecondsLeft(double rate) => Math.Max(1, ((value.Total - value.Done) / rate) - Stopwatch.GetElapsedTime(reported).TotalSeconds);

    /// <summary>Takes the next report.</summary>
    /// <returns>False if the report begins another stage.</returns>
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
