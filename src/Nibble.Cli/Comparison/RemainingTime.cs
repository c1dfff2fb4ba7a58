using System.Diagnostics;

namespace Nibble.Cli.Comparison;

/// <summary>The time that a comparison still takes: the estimates of its unfinished runs, corrected by how long the finished ones took.</summary>
/// <param name="estimates">Estimated seconds of every run, by name.</param>
internal sealed class RemainingTime(IReadOnlyDictionary<string, double> estimates)
{
    private readonly Lock gate = new();
    private readonly HashSet<string> unfinished = [.. estimates.Keys];
    private string? current;
    private long started;
    private double expected;
    private double taken;

    /// <summary>Seconds left; 0 if the current run takes longer than all that was expected.</summary>
    public double Seconds
    {
        get
        {
            lock (gate)
            {
                // A short run says little about a long one of another kind, so each counts by its length.
                var rest = unfinished.Sum(name => estimates[name]);
                var factor = expected + rest > 0 ? (taken + rest) / (expected + rest) : 1;
                var spent = current is null ? 0 : Math.Min(Stopwatch.GetElapsedTime(started).TotalSeconds, factor * estimates[current]);
                return Math.Max(0, (factor * rest) - spent);
            }
        }
    }

    /// <summary>A run begins.</summary>
    public void Begin(string name)
    {
        lock (gate)
        {
            (current, started) = estimates.ContainsKey(name) ? (name, Stopwatch.GetTimestamp()) : (null, 0);
        }
    }

    /// <summary>A run is finished. It counts towards the correction if it began in this process.</summary>
    public void End(string name)
    {
        lock (gate)
        {
            if (current == name)
            {
                expected += estimates[name];
                taken += Stopwatch.GetElapsedTime(started).TotalSeconds;
                current = null;
            }

            unfinished.Remove(name);
        }
    }
}
