using System.Diagnostics;

namespace Nibble.Torch.Training;

/// <summary>Measures the time of training steps from progress reports, which it passes on.</summary>
/// <param name="next">Receives the same reports.</param>
internal sealed class StepClock(IProgress<RunProgress>? next) : IProgress<RunProgress>
{
    private readonly long began = Stopwatch.GetTimestamp();
    private (long Step, TimeSpan Time)? first;
    private (long Step, TimeSpan Time) last;

    /// <summary>Seconds per step, the mean of all but the first. 0 before two steps are reported.</summary>
    public double StepSeconds => first is { } start && last.Step > start.Step ? (last.Time - start.Time).TotalSeconds / (last.Step - start.Step) : 0;

    /// <summary>Seconds before the first step. 0 before a step is reported.</summary>
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
