using Nibble.Cli.Engines;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Nibble.Onnx.Engine;

namespace Nibble.Cli.Bench;

/// <summary>One measurement of a file in its engine.</summary>
/// <param name="LoadSeconds">Seconds to load the model until it can compute.</param>
/// <param name="StartBytes">Memory of the process before loading.</param>
/// <param name="PeakBytes">Peak memory of the process.</param>
/// <param name="PromptTokens">Prompt tokens, computed in one batch.</param>
/// <param name="PromptSeconds">Seconds for the prompt.</param>
/// <param name="GeneratedTokens">Tokens after the prompt, computed one at a time.</param>
/// <param name="GenerationSeconds">Seconds for the generated tokens.</param>
internal sealed record BenchSample(
    double LoadSeconds, long StartBytes, long PeakBytes, int PromptTokens, double PromptSeconds, int GeneratedTokens, double GenerationSeconds)
{
    public double PromptTokensPerSecond => PromptTokens / PromptSeconds;

    public double GeneratedTokensPerSecond => GeneratedTokens / GenerationSeconds;
}

/// <summary>One measurement of an encoder's file in its engine.</summary>
/// <param name="LoadSeconds">Seconds to load the model until it can compute.</param>
/// <param name="StartBytes">Memory of the process before loading.</param>
/// <param name="PeakBytes">Peak memory of the process.</param>
/// <param name="SingleSeconds">Seconds for one text.</param>
/// <param name="BatchSeconds">Seconds for a batch of texts.</param>
internal sealed record EncoderBenchSample(double LoadSeconds, long StartBytes, long PeakBytes, double SingleSeconds, double BatchSeconds);

/// <summary>Measures a file in a separate process, whose memory is the engine's except for what .NET takes.</summary>
internal static class BenchWorker
{
    /// <summary>The first argument of the program, followed by the arguments of <see cref="Run"/>.</summary>
    public const string Verb = "bench-worker";

    // Prompt tokens per batch, as in llama.cpp's own programs.
    private const int Batch = 512;

    private const int WarmUpTokens = 4;

    // Texts are short: enough runs for a reliable time.
    private const double LeastSeconds = 0.5;
    private const int LeastRuns = 3;

    /// <summary>Measures once, after a warm-up, and writes the sample as JSON to stdout.</summary>
    /// <param name="arguments">
    /// For a decoder: the engine, the file, the folder of llama.cpp's libraries, the prompt tokens, the generated tokens and the threads. For an encoder:
    /// the engine, the file, the tokens per text, the texts per batch and the threads.
    /// </param>
    /// <returns>The exit code.</returns>
    public static int Run(ReadOnlySpan<string> arguments)
    {
        try
        {
            switch (arguments)
            {
                case [var engine, var path, var libraries, var prompt, var generated, var threads]:
                    Write(MeasureDecoder(engine, path, libraries, Number(prompt), Number(generated), Number(threads)), BenchJson.Default.BenchSample);
                    return ExitCode.Done;
                case [OnnxRuntimeEngine.EngineName, var path, var tokens, var batch, var threads]:
                    Write(MeasureEncoder(path, Number(tokens), Number(batch), Number(threads)), BenchJson.Default.EncoderBenchSample);
                    return ExitCode.Done;
                default:
                    return ExitCode.Usage;
            }
        }
        catch (Exception exception)
        {
            var failure = Failure.Of(exception);
            Console.Error.WriteLine(failure.Message);
            return failure.ExitCode;
        }

        static void Write<T>(T sample, JsonTypeInfo<T> type) => Console.Out.WriteLine(JsonSerializer.Serialize(sample, type));
    }

    private static BenchSample MeasureDecoder(string engine, string path, string libraries, int prompt, int generated, int threads)
    {
        var total = (long)prompt + generated;
        var start = Environment.WorkingSet;
        var clock = Stopwatch.GetTimestamp();
        IBenchModel model = engine == LlamaCppEngine.EngineName
            ? new LlamaCppBench(LlamaCppModel.Load(libraries, path, (int)Math.Min(total, int.MaxValue), Batch, threads))
            : new OnnxRuntimeBench(new OnnxRuntimeEngine(path, threads));
        var load = Seconds(clock);
        if (total > model.MaxSequence)
        {
            throw new NibbleException(
                $"{path}: a prompt of {prompt} tokens and {generated} generated tokens are more than the model's context of {model.MaxSequence}");
        }

        // The time does not depend on the choice of tokens.
        var random = new Random(1);
        var tokens = Enumerable.Range(0, prompt + generated).Select(_ => random.Next(model.VocabularySize)).ToArray();
        Measure(model, tokens.AsSpan(0, prompt + Math.Min(generated, WarmUpTokens)), prompt);
        var (promptSeconds, generationSeconds) = Measure(model, tokens, prompt);
        return new BenchSample(load, start, PeakBytes(), prompt, promptSeconds, generated, generationSeconds);
    }

    private static EncoderBenchSample MeasureEncoder(string path, int tokens, int batch, int threads)
    {
        var start = Environment.WorkingSet;
        var clock = Stopwatch.GetTimestamp();
        using var encoder = OnnxRuntimeEncoder.Open(path, threads);
        var load = Seconds(clock);
        var (single, together) = (Measure(1), Measure(batch));
        return new EncoderBenchSample(load, start, PeakBytes(), single, together);

        // Mean seconds per run, after a warm-up. The time does not depend on the choice of tokens; every vocabulary has these.
        double Measure(int texts)
        {
            var ids = Enumerable.Range(0, texts * tokens).Select(place => 2L + (place % 2)).ToArray();
            var mask = Enumerable.Repeat(1L, ids.Length).ToArray();
            encoder.Compute(ids, mask, tokens);
            var runs = 0;
            var began = Stopwatch.GetTimestamp();
            for (; runs < LeastRuns || Seconds(began) < LeastSeconds; runs++)
            {
                encoder.Compute(ids, mask, tokens);
            }

            return Seconds(began) / runs;
        }
    }

    private static long PeakBytes()
    {
        using var process = Process.GetCurrentProcess();
        return process.PeakWorkingSet64;
    }

    private static (double Prompt, double Generation) Measure(IBenchModel model, ReadOnlySpan<int> tokens, int prompt)
    {
        model.Forget();
        var clock = Stopwatch.GetTimestamp();
        model.Compute(tokens[..prompt]);
        var promptSeconds = Seconds(clock);
        clock = Stopwatch.GetTimestamp();
        for (var i = prompt; i < tokens.Length; i++)
        {
            model.Compute(tokens.Slice(i, 1));
        }

        return (promptSeconds, Seconds(clock));
    }

    private static double Seconds(long start) => Stopwatch.GetElapsedTime(start).TotalSeconds;

    private static int Number(string text) => int.Parse(text, CultureInfo.InvariantCulture);

    /// <summary>The model that is measured.</summary>
    private interface IBenchModel
    {
        int VocabularySize { get; }

        int MaxSequence { get; }

        void Forget();

        /// <summary>Computes tokens after the previous ones, and the logits after the last token.</summary>
        void Compute(ReadOnlySpan<int> tokens);
    }

    private sealed class LlamaCppBench(LlamaCppModel model) : IBenchModel
    {
        public int VocabularySize => model.VocabularySize;

        public int MaxSequence => model.MaxSequence;

        public void Forget() => model.Forget();

        public void Compute(ReadOnlySpan<int> tokens)
        {
            model.Advance(tokens);

            // Reading the logits waits until they are computed.
            _ = model.Logits(-1)[0];
        }
    }

    private sealed class OnnxRuntimeBench(OnnxRuntimeEngine engine) : IBenchModel
    {
        public int VocabularySize => engine.VocabularySize;

        public int MaxSequence => engine.MaxSequence;

        public void Forget() => engine.Forget();

        public void Compute(ReadOnlySpan<int> tokens) => engine.Advance(tokens);
    }
}
