using Nibble.Cli.Engines;
using Nibble.Cli.Report.Documents;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Nibble.Cli.Bench;

/// <summary>Settings for measuring decoders.</summary>
/// <param name="PromptTokens">Prompt tokens, at least 1.</param>
/// <param name="GeneratedTokens">Tokens generated after the prompt, at least 1.</param>
/// <param name="Repeats">Measurements per file, at least 1.</param>
/// <param name="Threads">Threads of the engine.</param>
/// <param name="Libraries">The folder of llama.cpp's libraries; empty if no file needs it.</param>
internal sealed record BenchOptions(int PromptTokens, int GeneratedTokens, int Repeats, int Threads, string Libraries);

/// <summary>Settings for measuring encoders.</summary>
/// <param name="Tokens">Tokens per text, at least 3.</param>
/// <param name="Batch">Texts per batch, measured in addition to one text at a time; at least 2.</param>
/// <param name="Repeats">Measurements per file, at least 1.</param>
/// <param name="Threads">Threads of the engine.</param>
internal sealed record EncoderBenchOptions(int Tokens, int Batch, int Repeats, int Threads);

/// <summary>Measures exported files in their engines.</summary>
/// <remarks>
/// Each measurement runs in a separate process, so that its memory is the engine's and only one model is loaded at a time. The two files take
/// turns, so that a slowdown of the machine affects both.
/// </remarks>
internal static class EngineBench
{
    /// <summary>Measures a decoder's file, and optionally a second one for comparison.</summary>
    /// <param name="file">The file.</param>
    /// <param name="against">The file to compare with; null for none.</param>
    /// <param name="options">The settings.</param>
    /// <param name="progress">Takes a report after each measurement.</param>
    /// <param name="cancellation">Stops between measurements.</param>
    /// <exception cref="NibbleException">An engine refuses its file.</exception>
    public static BenchDocument Run(
        ExportedFile file, ExportedFile? against, BenchOptions options, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        var (ours, theirs) = TakeTurns(file, against, options.Repeats, Measure, progress, cancellation);
        var speedup = against is null ? null : new BenchSpeedup(
            Spread.Of(ours.Zip(theirs, (a, b) => a.PromptTokensPerSecond / b.PromptTokensPerSecond)),
            Spread.Of(ours.Zip(theirs, (a, b) => a.GeneratedTokensPerSecond / b.GeneratedTokensPerSecond)));
        return new BenchDocument(
            BenchDocument.CurrentSchema, options.Threads, options.PromptTokens, options.GeneratedTokens, options.Repeats, Summary(file, ours),
            against is null ? null : Summary(against, theirs), speedup);

        BenchSample Measure(ExportedFile measured) => Start(
            measured, BenchJson.Default.BenchSample, cancellation,
            measured.Engine, measured.Path, options.Libraries, Text(options.PromptTokens), Text(options.GeneratedTokens), Text(options.Threads));
    }

    /// <summary>Measures an encoder's file, and optionally a second one for comparison.</summary>
    /// <inheritdoc cref="Run(ExportedFile, ExportedFile?, BenchOptions, IProgress{RunProgress}?, CancellationToken)"/>
    public static BenchEncoderDocument Run(
        ExportedFile file, ExportedFile? against, EncoderBenchOptions options, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        var (ours, theirs) = TakeTurns(file, against, options.Repeats, Measure, progress, cancellation);
        var speedup = against is null ? null : new BenchEncoderSpeedup(
            Spread.Of(ours.Zip(theirs, (a, b) => b.SingleSeconds / a.SingleSeconds)), Spread.Of(ours.Zip(theirs, (a, b) => b.BatchSeconds / a.BatchSeconds)));
        return new BenchEncoderDocument(
            BenchEncoderDocument.CurrentSchema, options.Threads, options.Tokens, options.Batch, options.Repeats, Summary(file, ours),
            against is null ? null : Summary(against, theirs), speedup);

        EncoderBenchSample Measure(ExportedFile measured) => Start(
            measured, BenchJson.Default.EncoderBenchSample, cancellation,
            measured.Engine, measured.Path, Text(options.Tokens), Text(options.Batch), Text(options.Threads));

        BenchedEncoder Summary(ExportedFile measured, List<EncoderBenchSample> samples)
        {
            Spread Of(Func<EncoderBenchSample, double> value) => Spread.Of(samples.Select(value));
            return new BenchedEncoder(
                measured.Name, measured.Path, measured.Engine, measured.Bytes,
                Of(sample => sample.LoadSeconds), Of(sample => sample.StartBytes), Of(sample => sample.PeakBytes),
                new BenchedTexts(Of(sample => sample.SingleSeconds), Of(sample => 1 / sample.SingleSeconds)),
                new BenchedTexts(Of(sample => sample.BatchSeconds), Of(sample => options.Batch / sample.BatchSeconds)));
        }
    }

    private static (List<T> Ours, List<T> Theirs) TakeTurns<T>(
        ExportedFile file, ExportedFile? against, int repeats, Func<ExportedFile, T> measure, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        var (ours, theirs) = (new List<T>(), new List<T>());
        Read(file);
        if (against is not null)
        {
            Read(against);
        }

        var total = repeats * (against is null ? 1 : 2);
        for (var i = 0; i < repeats; i++)
        {
            Add(ours, file);
            if (against is not null)
            {
                Add(theirs, against);
            }
        }

        return (ours, theirs);

        void Add(List<T> samples, ExportedFile measured)
        {
            cancellation.ThrowIfCancellationRequested();
            samples.Add(measure(measured));
            progress?.Report(new RunProgress("bench", ours.Count + theirs.Count, total));
        }
    }

    /// <summary>Reads a file into the system's cache, so that the first measurement is like the others.</summary>
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
            file.Name, file.Path, file.Engine, file.Bytes, Of(sample => sample.LoadSeconds), Of(sample => sample.StartBytes), Of(sample => sample.PeakBytes),
            Of(sample => sample.PromptTokensPerSecond), Of(sample => sample.GeneratedTokensPerSecond));
    }

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);

    /// <summary>Measures once, in a separate process.</summary>
    private static T Start<T>(ExportedFile file, JsonTypeInfo<T> type, CancellationToken cancellation, params string[] arguments)
    {
        using var process = EngineProcess.Start([BenchWorker.Verb, .. arguments]);
        using var stop = cancellation.Register(process.Kill);
        var errors = process.StandardError.ReadToEndAsync(CancellationToken.None);
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        cancellation.ThrowIfCancellationRequested();
        if (process.ExitCode is 128 + 1 or 128 + 2 or 128 + 15)
        {
            // A signal to all processes of the terminal or service reached the worker first.
            throw new OperationCanceledException(cancellation);
        }

        var message = errors.Result.Trim();
        return process.ExitCode == ExitCode.Done ? JsonSerializer.Deserialize(output, type)!
            : process.ExitCode == ExitCode.NativeLibrary ? throw new NativeLibraryException(message)
            : throw new NibbleException(message.Length > 0 ? message : $"{file.Path}: {file.Engine} exited with code {process.ExitCode}");
    }
}
