using Nibble.Torch.Calibration;
using Nibble.Files;
using System.Diagnostics;
using Nibble.Recipes;

namespace Nibble.Torch.Ptq;

/// <summary>What a run of post-training quantization will cost.</summary>
/// <param name="Seconds">From the start of the run to its end.</param>
/// <param name="PeakBytes">Resident memory at its highest.</param>
/// <param name="Bytes">Bytes of the artifact's tensors.</param>
/// <param name="DiskBytes">Bytes that the unfinished work takes beside the artifact at most.</param>
/// <param name="Layers">Layers that will be quantized.</param>
public sealed record PtqEstimate(double Seconds, long PeakBytes, long Bytes, long DiskBytes, int Layers)
{
    /// <summary>What the run will do with each layer, and what the user should know before it.</summary>
    public RunSummary Summary { get; init; } = RunSummary.Empty;
}

/// <summary>Estimates a run by doing the costly part of it on a few windows: one block, and the head where it is quantized.</summary>
internal static class PtqProbe
{
    /// <summary>Share of the steps of learning that the probe takes.</summary>
    private const int StepShare = 10;

    /// <summary>Runs the probe in a temporary folder.</summary>
    /// <param name="options">The run to estimate; nothing of it is written.</param>
    /// <param name="cancellation">Stops between layers and batches.</param>
    public static PtqEstimate Run(PtqRequest options, CancellationToken cancellation)
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

            // At first code is still being compiled, and then compiled again for speed.
            run.Probe(0);
            run.Probe(0);
            var tokens = run.CountTokens(settings);
            var block = run.Probe(0);
            var head = run.HasHead ? run.Probe(run.Blocks).Seconds(tokens, settings) : 0;
            var stream = run.StreamBytes(tokens);
            var held = stream <= options.ActivationMemory ? stream - run.StreamBytes(run.CountTokens(small.Recipe.Ptq)) : 0;
            using var process = Process.GetCurrentProcess();
            var bytes = run.CountBytes();
            return new PtqEstimate(
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

    /// <summary>How long bytes take to reach the disk, measured on some of them: few would tell the time of waiting for the disk at all.</summary>
    private static double WritingSeconds(string folder, long bytes)
    {
        var sample = new byte[(int)Math.Min(bytes, 256 << 20)];
        var started = Stopwatch.GetTimestamp();
        AtomicFile.Write(Path.Combine(folder, "sample"), stream => stream.Write(sample));
        return Stopwatch.GetElapsedTime(started).TotalSeconds * bytes / sample.Length;
    }
}

/// <summary>How long a unit of a probe took.</summary>
/// <param name="Tokens">Tokens that it was shown.</param>
/// <param name="Embedding">Seconds that embedding them took.</param>
/// <param name="Streaming">Seconds that grow with the tokens.</param>
/// <param name="Learning">Seconds that grow with the steps of learning.</param>
/// <param name="Steps">Steps of learning.</param>
/// <param name="Rest">All other seconds.</param>
internal readonly record struct UnitTimes(long Tokens, double Embedding, double Streaming, double Learning, int Steps, double Rest)
{
    /// <summary>Seconds of the same unit in the run to be estimated.</summary>
    public double Seconds(long tokens, PtqSettings settings) =>
        Rest + (Tokens == 0 ? 0 : Streaming * tokens / Tokens) + (Learning * settings.LearningSteps / Steps);
}
