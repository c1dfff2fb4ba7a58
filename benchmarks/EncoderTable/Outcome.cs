using System.Diagnostics;
using System.Text.Json;

namespace Nibble.Benchmarks.EncoderTable;

/// <summary>What a run gave and took.</summary>
/// <param name="Dev">The measure, in percent, on the data that choices are made by.</param>
/// <param name="Test">The measure, in percent, on those that are reported.</param>
/// <param name="Cosine">How alike vectors are to the float model's; null for a classifier.</param>
/// <param name="CpuSeconds">Processor time that it took, of all its threads, without the scoring: that of a machine with nothing else to do, and of a busy
/// one.</param>
/// <param name="PeakBytes">The most memory that the process held meanwhile, libtorch's own included.</param>
/// <param name="Samples">Texts that it looked at, each as often as it did.</param>
/// <param name="Recipe">What was done.</param>
internal sealed record Outcome(double Dev, double Test, double? Cosine, double CpuSeconds, long PeakBytes, long Samples, string Recipe);

/// <summary>Runs runs whose outcome is not known yet, and keeps what is: a table takes hours, and resumes where it was stopped.</summary>
/// <param name="path">The file.</param>
internal sealed class Outcomes(string path)
{
    private readonly Dictionary<string, Outcome> known =
        File.Exists(path) ? JsonSerializer.Deserialize<Dictionary<string, Outcome>>(File.ReadAllText(path))! : [];

    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };

    /// <summary>The outcome of a run.</summary>
    /// <param name="key">Which, with all that it depends on.</param>
    /// <param name="run">Does it.</param>
    public Outcome Of(string key, Func<Outcome> run)
    {
        if (!known.TryGetValue(key, out var outcome))
        {
            known.Add(key, outcome = run());
            File.WriteAllText(path + ".tmp", JsonSerializer.Serialize(known, Indented));
            File.Move(path + ".tmp", path, overwrite: true);
        }

        Console.Error.WriteLine($"{key}: dev {outcome.Dev:F2}, test {outcome.Test:F2}, {outcome.CpuSeconds:F0} s");
        return outcome;
    }

    /// <summary>Runs and measures.</summary>
    public static (double CpuSeconds, long PeakBytes) Measure(Action run)
    {
        // Linux forgets the process's peak when 5 is written here (man 5 proc); elsewhere the peak is that of all runs so far.
        if (OperatingSystem.IsLinux())
        {
            File.WriteAllText("/proc/self/clear_refs", "5");
        }

        var start = Environment.CpuUsage.TotalTime;
        run();
        using var process = Process.GetCurrentProcess();
        return ((Environment.CpuUsage.TotalTime - start).TotalSeconds, process.PeakWorkingSet64);
    }
}
