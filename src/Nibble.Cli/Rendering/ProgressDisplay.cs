
namespace Nibble.Cli.Rendering;

/// <summary>Progress whose stages belong to named runs.</summary>
internal interface IProgressLine : IProgress<RunProgress>
{
    /// <summary>Names the run that the next stages belong to.</summary>
    void Begin(string run);

    /// <summary>Writes another line without mixing it with the progress.</summary>
    void Say(string line);

    /// <summary>Shows the time left for all runs next to that of the current stage.</summary>
    /// <param name="secondsLeft">Asked whenever progress is shown.</param>
    void Expect(Func<double> secondsLeft);
}

/// <summary>Shows progress on stderr: a bar on a terminal, otherwise a line every few seconds.</summary>
internal abstract class ProgressDisplay : IProgressLine, IDisposable
{
    private readonly Lock gate = new();
    private string run = string.Empty;
    private ProgressStage? stage;

    /// <summary>Creates the display for a stderr stream.</summary>
    public static ProgressDisplay On(TextWriter error) =>
        error is StandardWriter { CanRewrite: true } terminal ? new ProgressBar(terminal, () => terminal.Columns) : new ProgressLines(error);

    public void Begin(string run)
    {
        lock (gate)
        {
            this.run = run;
        }
    }

    public void Report(RunProgress value)
    {
        lock (gate)
        {
            if (stage?.Continue(run, value) is true)
            {
                Show(stage, isNew: false);
                return;
            }

            stage = new ProgressStage(run, value);
            Show(stage, isNew: true);
        }
    }

    public void Say(string line)
    {
        lock (gate)
        {
            Interrupt(line);
        }
    }

    public void Expect(Func<double> secondsLeft) => Total = secondsLeft;

    /// <summary>Seconds left for all runs; null if that is unknown.</summary>
    protected Func<double>? Total { get; private set; }

    /// <summary>The time left for all runs; null if that is unknown.</summary>
    protected string? TotalLeft => Total is { } seconds ? $"{ProgressStage.Left(seconds())} in total" : null;

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (gate)
        {
            End();
        }
    }

    /// <summary>Shows the progress of a stage.</summary>
    protected abstract void Show(ProgressStage stage, bool isNew);

    /// <summary>Writes another line.</summary>
    protected abstract void Interrupt(string line);

    /// <summary>Restores the terminal.</summary>
    protected abstract void End();

    /// <summary>Shows the current stage again, because time has passed.</summary>
    protected void Refresh(Action<ProgressStage> show)
    {
        lock (gate)
        {
            if (stage is not null)
            {
                show(stage);
            }
        }
    }
}
