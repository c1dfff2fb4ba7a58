using System.Diagnostics;

namespace Nibble.Cli.Rendering;

/// <summary>Progress as lines, for files and for terminals without control characters.</summary>
internal sealed class ProgressLines(TextWriter error) : ProgressDisplay
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(5);

    private long last;

    protected override void Show(ProgressStage stage, bool isNew)
    {
        if (!stage.IsDone && last != 0 && Stopwatch.GetElapsedTime(last) < Interval)
        {
            return;
        }

        last = Stopwatch.GetTimestamp();
        error.WriteLine(string.Join(
            ", ", [$"{stage.Label} {stage.Count}", .. stage.Losses, .. new[] { stage.Speed, stage.TimeLeft, TotalLeft }.OfType<string>()]));
    }

    protected override void Interrupt(string line) => error.WriteLine(line);

    protected override void End()
    {
    }
}
