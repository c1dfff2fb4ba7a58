using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Nibble.Cli.Rendering;

namespace Nibble.Cli.Engines;

/// <summary>One measurement of a file in its engine.</summary>
/// <param name="LoadSeconds">From nothing to a model that can compute.</param>
/// <param name="StartBytes">What the process held before.</param>
/// <param name="PeakBytes">The most that the process held until its end.</param>
/// <param name="PromptTokens">Tokens of the prompt, computed at once.</param>
/// <param name="PromptSeconds">What the prompt took.</param>
/// <param name="GeneratedTokens">Tokens behind the prompt, computed one after the other.</param>
/// <param name="GenerationSeconds">What they took.</param>
internal sealed record BenchSample(double LoadSeconds, long StartBytes, long PeakBytes, int PromptTokens, double PromptSeconds, int GeneratedTokens, double GenerationSeconds)
{
    public double PromptTokensPerSecond => PromptTokens / PromptSeconds;

    public double GeneratedTokensPerSecond => GeneratedTokens / GenerationSeconds;
}

/// <summary>Measures a file in a process of its own, whose memory is the engine's but for what .NET takes.</summary>
internal static class BenchWorker
{
    /// <summary>What the program is started with, followed by the arguments of <see cref="Run"/>.</summary>
    public const string Verb = "bench-worker";

    // What llama.cpp computes of a prompt at once, in its own programs too.
    private const int Batch = 512;

    private const int WarmUpTokens = 4;

    /// <summary>Measures once, after a warm-up, and writes the sample as JSON to stdout.</summary>
    /// <param name="arguments">The engine, the file, the folder of llama.cpp's libraries, the tokens of the prompt and behind it, the threads.</param>
    /// <returns>The exit code.</returns>
    public static int Run(ReadOnlySpan<string> arguments)
    {
        if (arguments is not [var engine, var path, var libraries, var promptText, var generatedText, var threadsText])
        {
            return ExitCode.Usage;
        }

        try
        {
            var (prompt, generated, threads) = (Number(promptText), Number(generatedText), Number(threadsText));
            var total = (long)prompt + generated;
            var start = Environment.WorkingSet;
            var clock = Stopwatch.GetTimestamp();
            IBenchModel model = engine == LlamaCppEngine.EngineName
                ? new LlamaCppBench(LlamaCppModel.Load(libraries, path, (int)Math.Min(total, int.MaxValue), Batch, threads))
                : new OnnxRuntimeBench(new OnnxRuntimeEngine(path, threads));
            var load = Seconds(clock);
            if (total > model.MaxSequence)
            {
                throw new NibbleException($"{path}: a prompt of {prompt} tokens and {generated} behind it are more than the model's context of {model.MaxSequence}");
            }

            // What is computed does not depend on which tokens they are.
            var random = new Random(1);
            var tokens = Enumerable.Range(0, prompt + generated).Select(_ => random.Next(model.VocabularySize)).ToArray();
            Measure(model, tokens.AsSpan(0, prompt + Math.Min(generated, WarmUpTokens)), prompt);
            var (promptSeconds, generationSeconds) = Measure(model, tokens, prompt);
            using var process = Process.GetCurrentProcess();
            var sample = new BenchSample(load, start, process.PeakWorkingSet64, prompt, promptSeconds, generated, generationSeconds);
            Console.Out.WriteLine(JsonSerializer.Serialize(sample, CliJson.Default.BenchSample));
            return ExitCode.Done;
        }
        catch (Exception exception)
        {
            var failure = Failure.Of(exception);
            Console.Error.WriteLine(failure.Message);
            return failure.ExitCode;
        }
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

    /// <summary>What is measured.</summary>
    private interface IBenchModel
    {
        int VocabularySize { get; }

        int MaxSequence { get; }

        void Forget();

        /// <summary>Computes tokens behind those before, and the logits behind the last.</summary>
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

            // What is asked for is waited for.
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
