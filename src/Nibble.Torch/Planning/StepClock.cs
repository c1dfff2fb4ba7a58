using System.Diagnostics;

namespace Nibble.Torch.Planning;

/// <summary>Times the steps of a training by its reports of progress, which it hands on.</summary>
/// <param name="next">Told what this is told.</param>
internal sealed class StepClock(IProgress<RunProgress>? next) : IProgress<RunProgress>
{
    private readonly long began = Stopwatch.GetTimestamp();
    private (long Step, TimeSpan Time)? first;
    private (long Step, TimeSpan Time) last;

    /// <summary>Seconds of a step, the mean of all but the first; 0 before two were reported.</summary>
    public double StepSeconds => first is { } start && last.Step > start.Step ? (last.Time - start.Time).TotalSeconds / (last.Step - start.Step) : 0;

    /// <summary>Seconds before the first step; 0 before one was reported.</summary>
    public double SetupSeconds => first is { } start ? Math.Max(0, start.Time.TotalSeconds - (start.Step * StepSeconds)) : 0;

    /// <inheritdoc/>
    public void Report(RunProgress value)
    {
        if (value is { Stage: "train", Done: > 0 })
        {
            last = (value.Done, Stopwatch.GetElapsedTime(began));
            first ??= last;
        }

        next?.Report(value);
    }
}
