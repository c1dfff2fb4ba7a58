using System.Globalization;
using System.Text.Json;
using Nibble.Cli.Rendering;

namespace Nibble.Cli.Engines;

/// <summary>What to measure.</summary>
/// <param name="PromptTokens">Tokens of the prompt, at least 1.</param>
/// <param name="GeneratedTokens">Tokens behind it, at least 1.</param>
/// <param name="Repeats">How often, at least once.</param>
/// <param name="Threads">Threads of the engine.</param>
/// <param name="Libraries">The folder of llama.cpp's libraries; empty where no file needs it.</param>
internal sealed record BenchOptions(int PromptTokens, int GeneratedTokens, int Repeats, int Threads, string Libraries);

/// <summary>Measures exported files in their engines.</summary>
internal static class EngineBench
{
    /// <summary>Measures a file, and another beside it.</summary>
    /// <remarks>
    /// Each measurement is a process of its own, so that its memory is the engine's and only one model is loaded at a time; the two files take turns,
    /// so that a machine that grows slower meanwhile slows both.
    /// </remarks>
    /// <param name="file">The file.</param>
    /// <param name="against">What to compare it with; null for nothing.</param>
    /// <param name="options">What to measure.</param>
    /// <param name="progress">Told after each measurement.</param>
    /// <param name="cancellation">Stops between measurements.</param>
    /// <exception cref="NibbleException">An engine refuses its file.</exception>
    public static BenchDocument Run(ExportedFile file, ExportedFile? against, BenchOptions options, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        var (ours, theirs) = (new List<BenchSample>(), new List<BenchSample>());
        Read(file);
        if (against is not null)
        {
            Read(against);
        }

        var total = options.Repeats * (against is null ? 1 : 2);
        for (var i = 0; i < options.Repeats; i++)
        {
            Add(ours, file);
            if (against is not null)
            {
                Add(theirs, against);
            }
        }

        var speedup = against is null ? null : new BenchSpeedup(
            Spread.Of(ours.Zip(theirs, (a, b) => a.PromptTokensPerSecond / b.PromptTokensPerSecond)),
            Spread.Of(ours.Zip(theirs, (a, b) => a.GeneratedTokensPerSecond / b.GeneratedTokensPerSecond)));
        return new BenchDocument(
            BenchDocument.CurrentSchema, options.Threads, options.PromptTokens, options.GeneratedTokens, options.Repeats, Summary(file, ours), against is null ? null : Summary(against, theirs), speedup);

        void Add(List<BenchSample> samples, ExportedFile measured)
        {
            cancellation.ThrowIfCancellationRequested();
            samples.Add(Measure(measured, options, cancellation));
            progress?.Report(new RunProgress("bench", ours.Count + theirs.Count, total));
        }
    }

    /// <summary>Reads a file, so that the system has it in memory and the first measurement is like the others.</summary>
    private static void Read(ExportedFile file)
    {
        foreach (var path in file.Files)
        {
            using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
            stream.CopyTo(Stream.Null, 1 << 20);
        }
    }

    private static BenchedFile Summary(ExportedFile file, List<BenchSample> samples)
    {
        Spread Of(Func<BenchSample, double> value) => Spread.Of(samples.Select(value));
        return new BenchedFile(
            file.Name, file.Path, file.Engine, file.Bytes, Of(sample => sample.LoadSeconds), Of(sample => sample.StartBytes), Of(sample => sample.PeakBytes), Of(sample => sample.PromptTokensPerSecond), Of(sample => sample.GeneratedTokensPerSecond));
    }

    private static BenchSample Measure(ExportedFile file, BenchOptions options, CancellationToken cancellation)
    {
        string Text(int number) => number.ToString(CultureInfo.InvariantCulture);
        using var process = EngineProcess.Start(BenchWorker.Verb, file.Engine, file.Path, options.Libraries, Text(options.PromptTokens), Text(options.GeneratedTokens), Text(options.Threads));
        using var stop = cancellation.Register(process.Kill);
        var errors = process.StandardError.ReadToEndAsync(CancellationToken.None);
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        cancellation.ThrowIfCancellationRequested();
        if (process.ExitCode is 128 + 1 or 128 + 2 or 128 + 15)
        {
            // A signal to all processes of a terminal or a service reached the worker first.
            throw new OperationCanceledException(cancellation);
        }

        var message = errors.Result.Trim();
        return process.ExitCode == ExitCode.Done ? JsonSerializer.Deserialize(output, CliJson.Default.BenchSample)!
            : process.ExitCode == ExitCode.NativeLibrary ? throw new NativeLibraryException(message)
            : throw new NibbleException(message.Length > 0 ? message : $"{file.Path}: {file.Engine} ended with code {process.ExitCode}");
    }
}
