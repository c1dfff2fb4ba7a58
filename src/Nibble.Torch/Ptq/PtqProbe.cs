using Nibble.Torch.Calibration;
using Nibble.Files;
using System.Diagnostics;
using Nibble.Recipes;

namespace Nibble.Torch.Ptq;

/// <summary>Estimates a run by executing its expensive part on a few windows: one block, and the head if it is quantized.</summary>
internal static class PtqProbe
{
    /// <summary>The divisor of the learning steps for the probe.</summary>
    private const int StepShare = 10;

    /// <summary>Runs the probe in a temporary folder.</summary>
    /// <param name="options">The run to estimate. None of its output is written.</param>
    /// <param name="cancellation">Cancels between layers and batches.</param>
    public static RunEstimate Run(PtqRequest options, CancellationToken cancellation)
    {
        var started = Stopwatch.GetTimestamp();
        var settings = options.Recipe.Ptq;
        var work = Directory.CreateTempSubdirectory("nibble-probe-").FullName;
        try
        {
            var batch = ActivationStream.BatchSize(settings.SequenceLength);
            var small = options with
            {
                Output = Path.Combine(work, "artifact"),
                Recipe = options.Recipe with
                {
                    Ptq = settings with
                    {
                        Windows = Math.Min(settings.Windows, 4 * batch),
                        LearningSteps = Math.Max(1, settings.LearningSteps / StepShare)
                    }
                },
            };
            using var run = new PtqRun(small, null, cancellation);
            var opened = Stopwatch.GetElapsedTime(started).TotalSeconds;

            // In the first runs, code is still being compiled and then compiled again with optimizations.
            run.Probe(0);
            run.Probe(0);
            var tokens = run.CountTokens(settings);
            var block = run.Probe(0);
            var head = run.HasHead ? run.Probe(run.Blocks).Seconds(tokens, settings) : 0;
            var stream = run.StreamBytes(tokens);
            var held = stream <= options.ActivationMemory ? stream - run.StreamBytes(run.CountTokens(small.Recipe.Ptq)) : 0;
            using var process = Process.GetCurrentProcess();
            var bytes = run.CountBytes();
            return new RunEstimate(
                opened + (block.Embedding * tokens / Math.Max(1, block.Tokens)) + (block.Seconds(tokens, settings) * run.Blocks) + head
                    + WritingSeconds(work, bytes),
                process.PeakWorkingSet64 + (2 * run.StreamCount * held),
                bytes,
                bytes + (2 * run.StreamCount * stream),
                run.LayerCount)
            {
                Summary = run.Summarize(settings).WithSizes(bytes, run.SourceBytes),
            };
        }
        finally
        {
            Directory.Delete(work, recursive: true);
        }
    }

    /// <summary>Estimates the time to write bytes to disk from a sample. A small sample would measure only the latency of the disk.</summary>
    private static double WritingSeconds(string folder, long bytes)
    {
        var sample = new byte[(int)Math.Min(bytes, 256 << 20)];
        var started = Stopwatch.GetTimestamp();
        AtomicFile.Write(Path.Combine(folder, "sample"), stream => stream.Write(sample));
        return Stopwatch.GetElapsedTime(started).TotalSeconds * bytes / sample.Length;
    }
}

/// <summary>The duration of one unit in a probe.</summary>
/// <param name="Tokens">The number of tokens that it processed.</param>
/// <param name="Embedding">Seconds for embedding them.</param>
/// <param name="Streaming">Seconds that grow with the tokens.</param>
/// <param name="Learning">Seconds that grow with the learning steps.</param>
/// <param name="Steps">The number of learning steps.</param>
/// <param name="Rest">All other seconds.</param>
internal readonly record struct UnitTimes(long Tokens, double Embedding, double Streaming, double Learning, int Steps, double Rest)
{
    /// <summary>Seconds of the same unit in the run to estimate.</summary>
    public double Seconds(long tokens, PtqSettings settings) =>
        Rest + (Tokens == 0 ? 0 : Streaming * tokens / Tokens) + (Learning * settings.LearningSteps / Steps);
}
