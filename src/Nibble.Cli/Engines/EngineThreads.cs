using System.Diagnostics;
using System.Globalization;

namespace Nibble.Cli.Engines;

/// <summary>Chooses the number of threads of an engine.</summary>
/// <remarks>
/// llama.cpp's threads spin while they wait for each other, and its interface cannot change that. On a busy machine, the spinning threads keep the
/// processors from the thread they wait for. With
/// two threads on two busy processors, a token takes a thousand times as long. One thread per free processor avoids this.
/// </remarks>
internal static class EngineThreads
{
    private static readonly TimeSpan Look = TimeSpan.FromMilliseconds(200);

    /// <summary>The number of threads for an engine.</summary>
    /// <param name="asked">The number that the user set; null for the best one.</param>
    /// <param name="engine">The engine.</param>
    /// <param name="warn">Takes a warning if other work leaves fewer threads than there are processors.</param>
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
                + $"thread{(free == 1 ? string.Empty : "s")}; set --threads to change that");
        }

        return free;
    }

    /// <summary>Processors without other work, at least 1. All of them if the system does not report it.</summary>
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

    /// <summary>Idle seconds summed over all processors; null if Linux does not report them.</summary>
    private static double? Idle()
    {
        const string statistics = "/proc/stat";
        const double ticksOfASecond = 100;
        if (!OperatingSystem.IsLinux() || !File.Exists(statistics))
        {
            return null;
        }

        // Fields: cpu, user, nice, system, idle, waiting for disks.
        return File.ReadLines(statistics).First().Split(' ', StringSplitOptions.RemoveEmptyEntries) is ["cpu", _, _, _, var idle, var waiting, ..]
            ? (double.Parse(idle, CultureInfo.InvariantCulture) + double.Parse(waiting, CultureInfo.InvariantCulture)) / ticksOfASecond
            : null;
    }
}
