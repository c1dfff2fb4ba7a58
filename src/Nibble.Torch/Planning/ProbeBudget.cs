namespace Nibble.Torch.Planning;

/// <summary>The time a probe may take, and what stops it in the middle of a piece of work when that is over.</summary>
internal sealed class ProbeBudget(Func<double> clock, double seconds, IProgress<RunProgress>? progress, CancellationToken cancellation)
{
    private readonly double start = clock();

    public double Spent => clock() - start;

    public double Remaining => seconds - Spent;

    /// <summary>Does a piece of work that reports its progress; one that takes longer than allowed is stopped at its next report.</summary>
    /// <param name="name">What the work is, for progress.</param>
    /// <param name="allowed">Seconds it may take; never more than what remains.</param>
    /// <param name="work">The work; it has to report progress to what it is given.</param>
    /// <param name="taken">Seconds it took.</param>
    /// <returns>Whether it came to its end.</returns>
    /// <exception cref="OperationCanceledException">The user stopped it.</exception>
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
