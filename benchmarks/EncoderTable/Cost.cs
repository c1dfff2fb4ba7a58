using System.Diagnostics;

namespace Nibble.Benchmarks.EncoderTable;

/// <summary>What a road took.</summary>
/// <param name="Seconds">Its time.</param>
/// <param name="PeakBytes">The most memory that the process held while it ran, libtorch's own included.</param>
internal readonly record struct Cost(double Seconds, long PeakBytes)
{
    /// <summary>Runs and measures.</summary>
    public static Cost Of(Action road)
    {
        ResetPeak();
        var start = Stopwatch.GetTimestamp();
        road();
        using var process = Process.GetCurrentProcess();
        return new Cost(Stopwatch.GetElapsedTime(start).TotalSeconds, process.PeakWorkingSet64);
    }

    // Linux forgets the process's peak when 5 is written here (man 5 proc); elsewhere the peak is that of all roads so far.
    private static void ResetPeak()
    {
        if (OperatingSystem.IsLinux())
        {
            File.WriteAllText("/proc/self/clear_refs", "5");
        }
    }
}
