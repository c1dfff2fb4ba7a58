using System.Diagnostics;
using System.Globalization;

namespace Nibble.Cli.Engines;

/// <summary>How many threads an engine gets.</summary>
/// <remarks>
/// llama.cpp's threads spin without end where one of them is not there yet, and nothing of its interface changes that. Beside busy processes the one that is
/// waited for does not run, as the others
/// spin in its place: with two threads on two busy processors, a token takes a thousand times as long. One thread for each processor that is free takes its
/// share.
/// </remarks>
internal static class EngineThreads
{
    private static readonly TimeSpan Look = TimeSpan.FromMilliseconds(200);

    /// <summary>The threads for an engine.</summary>
    /// <param name="asked">What the user wants; null for what is best.</param>
    /// <param name="engine">The engine.</param>
    /// <param name="warn">Told where other work leaves it fewer threads than there are processors.</param>
    public static int For(int? asked, string engine, Action<string> warn)
    {
        if (asked is not null || engine != LlamaCppEngine.EngineName || ThreadLimit.Most == 1)
        {
            return ThreadLimit.Cap(asked);
        }

        var free = CountFree();
        if (free < ThreadLimit.Most)
        {
            warn($"other work keeps {ThreadLimit.Most - free} of {ThreadLimit.Most} processors busy, so llama.cpp gets {free} "
                + $"thread{(free == 1 ? string.Empty : "s")} (--threads sets another number)");
        }

        return free;
    }

    /// <summary>Processors that do nothing but this process's work, at least 1; all of them where the system does not tell.</summary>
    private static int CountFree()
    {
        if (Idle() is not { } before)
        {
            return ThreadLimit.Most;
        }

        using var process = Process.GetCurrentProcess();
        var own = process.TotalProcessorTime;
        var clock = Stopwatch.GetTimestamp();
        Thread.Sleep(Look);
        var seconds = Stopwatch.GetElapsedTime(clock).TotalSeconds;
        process.Refresh();
        var free = (Idle()!.Value - before + (process.TotalProcessorTime - own).TotalSeconds) / seconds;
        return Math.Clamp((int)Math.Round(free), 1, ThreadLimit.Most);
    }

    /// <summary>Seconds in which processors had nothing to do, all of them together; null where Linux does not tell.</summary>
    private static double? Idle()
    {
        const string statistics = "/proc/stat";
        const double ticksOfASecond = 100;
        if (!OperatingSystem.IsLinux() || !File.Exists(statistics))
        {
            return null;
        }

        // cpu, user, nice, system, idle, waiting for disks.
        return File.ReadLines(statistics).First().Split(' ', StringSplitOptions.RemoveEmptyEntries) is ["cpu", _, _, _, var idle, var waiting, ..]
            ? (double.Parse(idle, CultureInfo.InvariantCulture) + double.Parse(waiting, CultureInfo.InvariantCulture)) / ticksOfASecond
            : null;
    }
}
