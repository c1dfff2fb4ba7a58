using System.Diagnostics;

namespace Nibble.Torch;

/// <summary>The peak memory of the process between two moments, found by sampling. The system records only the peak of the whole process.</summary>
internal sealed class PeakMemory : IDisposable
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(100);
    private readonly Timer timer;
    private long peak;

    private PeakMemory() => timer = new Timer(_ => Sample(), null, TimeSpan.Zero, Interval);

    /// <summary>The highest number of resident bytes so far.</summary>
    public long Bytes
    {
        get
        {
            Sample();
            return Volatile.Read(ref peak);
        }
    }

    /// <summary>Starts sampling.</summary>
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
