
namespace Nibble.Cli.Rendering;

/// <summary>Progress whose stages belong to named runs.</summary>
internal interface IProgressLine : IProgress<RunProgress>
{
    /// <summary>Names the run that the next stages belong to.</summary>
    void Begin(string run);
}

/// <summary>Shows long work on stderr: a bar on a terminal, a line now and then elsewhere.</summary>
internal abstract class ProgressDisplay : IProgressLine, IDisposable
{
    private readonly Lock gate = new();
    private string run = string.Empty;
    private ProgressStage? stage;

    /// <summary>The display that suits where stderr leads.</summary>
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

    /// <summary>Writes a line of another kind, so that it does not run into the progress.</summary>
    public void Say(string line)
    {
        lock (gate)
        {
            Interrupt(line);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (gate)
        {
            End();
        }
    }

    /// <summary>Shows how far a stage is.</summary>
    protected abstract void Show(ProgressStage stage, bool isNew);

    /// <summary>Writes another line.</summary>
    protected abstract void Interrupt(string line);

    /// <summary>Leaves the terminal as it was found.</summary>
    protected abstract void End();

    /// <summary>Shows the running stage once more, as time has passed.</summary>
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
