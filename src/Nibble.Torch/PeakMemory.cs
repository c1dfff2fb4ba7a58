using System.Diagnostics;

namespace Nibble.Torch;

/// <summary>The most memory that the process holds between two moments, sampled: the system keeps only the peak of the whole process.</summary>
internal sealed class PeakMemory : IDisposable
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(100);
    private readonly Timer timer;
    private long peak;

    private PeakMemory() => timer = new Timer(_ => Sample(), null, TimeSpan.Zero, Interval);

    /// <summary>Resident bytes at their highest so far.</summary>
    public long Bytes
    {
        get
        {
            Sample();
            return Volatile.Read(ref peak);
        }
    }

    /// <summary>Begins to watch.</summary>
    public static PeakMemory Watch() => new();

    /// <inheritdoc/>
    public void Dispose() => timer.Dispose();

    private void Sample()
    {
        using var process = Process.GetCurrentProcess();
        var now = process.WorkingSet64;
        var seen = Volatile.Read(ref peak);
        while (now > seen)
        {
            var before = Interlocked.CompareExchange(ref peak, now, seen);
            if (before == seen)
            {
                break;
            }

            seen = before;
        }
    }
}
