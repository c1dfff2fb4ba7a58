namespace Nibble.Torch.Planning;

/// <summary>The time limit of a probe. It stops work that exceeds the limit.</summary>
internal sealed class ProbeBudget(Func<double> clock, double seconds, IProgress<RunProgress>? progress, CancellationToken cancellation)
{
    private readonly double start = clock();

    public double Spent => clock() - start;

    public double Remaining => seconds - Spent;

    /// <summary>Runs work that reports its progress. Work that takes longer than allowed is stopped at its next report.</summary>
    /// <param name="name">The name of the work, for progress messages.</param>
    /// <param name="allowed">The maximum duration in seconds. It is never more than the remaining time.</param>
    /// <param name="work">The work. It must report progress to the object it receives.</param>
    /// <param name="taken">The duration in seconds.</param>
    /// <returns>Whether the work was completed.</returns>
    /// <exception cref="OperationCanceledException">The user cancelled it.</exception>
    public bool Try(string name, double allowed, Action<IProgress<RunProgress>, CancellationToken> work, out double taken)
    {
        cancellation.ThrowIfCancellationRequested();
        var began = clock();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        try
        {
            work(new Watch(this, name, began + Math.Min(allowed, Remaining), stop), stop.Token);
            return true;
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            return false;
        }
        finally
        {
            taken = clock() - began;
        }
    }

    private sealed class Watch(ProbeBudget budget, string name, double end, CancellationTokenSource stop) : IProgress<RunProgress>
    {
        public void Report(RunProgress value)
        {
            budget.Report(value with { Stage = $"{name}: {value.Stage}" });
            if (budget.Now > end)
            {
                stop.Cancel();
            }
        }
    }

    private double Now => clock();

    private void Report(RunProgress value) => progress?.Report(value);
}
