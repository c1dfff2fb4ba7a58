using Nibble.Cli.Engines;
using Nibble.Cli.Report;
using Nibble.Cli.Report.Documents;
using Nibble.Formats.HuggingFace;
using Nibble.Torch.Evaluation.Questions;
using Nibble.Torch.Models;

namespace Nibble.Cli.Commands;

/// <summary>The part of <c>nibble eval</c> that asks questions, in the simulation or in an engine.</summary>
/// <param name="host">Shows progress and takes the result.</param>
/// <param name="engine">The engine; null for that of each model's file, or the simulation.</param>
/// <param name="libraries">The folder of llama.cpp's libraries, if the user names one.</param>
/// <param name="tokenizer">The folder of the tokenizer of an ONNX file, if the user names one.</param>
/// <param name="threads">Threads; null for the best number.</param>
internal sealed class QuestionEvaluation(CommandHost host, string? engine, string? libraries, string? tokenizer, int? threads)
{
    /// <summary>Asks a model, and a reference if there is one, one after the other, and writes the result.</summary>
    /// <returns>The exit code.</returns>
    public int Run(string model, string? reference, IReadOnlyList<QuestionFile> files, bool json)
    {
        if (reference is not null && !Path.Exists(reference))
        {
            // Found before the model is asked, which may take hours.
            throw new NibbleException($"There is no folder or file {reference}.");
        }

        var own = Ask(model, files);
        var theirs = reference is null ? null : Ask(reference, files);
        var report = new QuestionReport(
            NameOf(model), EngineRun.Of(model, engine), reference is null ? null : NameOf(reference), [.. own.Select((score, i) => (score, theirs?[i]))]);
        if (json)
        {
            host.WriteJson(report.Document(), CliJson.Default.EvalTasksDocument);
        }
        else
        {
            report.Write(host);
        }

        foreach (var score in own.Where(score => score.Truncated > 0))
        {
            host.Warn(
                $"{score.File.Name}: the context of {score.Truncated} of {score.File.Questions.Count} questions is longer than the model's and was cut at its "
                + "start");
        }

        return ExitCode.Done;
    }

    private static string NameOf(string path) => ExportedFile.Find(path)?.Name ?? Checkpoint.NameOf(path);

    private List<QuestionScore> Ask(string path, IReadOnlyList<QuestionFile> files)
    {
        var temporary = host.CreateTemporaryFolder("nibble-eval-");
        try
        {
            using var model = EngineRun.Open(
                host,
                path,
                engine,
                temporary.FullName,
                threads,
                Answerer.Simulated,
                file => Answerer.Of(Writer.Open(file, libraries, tokenizer, Room(files), EngineThreads.For(threads, file.Engine, host.Warn))));
            return [.. files.Select(file => host.WithProgress(progress => QuestionScorer.Score(model.Scorer, file, progress, host.Cancellation)))];
        }
        finally
        {
            temporary.Delete(recursive: true);
        }
    }

    /// <summary>The most tokens that a question can take.</summary>
    private static int Room(IReadOnlyList<QuestionFile> files) =>
        (int)Math.Min(int.MaxValue, files.Max(file => file.Questions.Max(question => question.MostTokens)));

    /// <summary>A scorer with what it owns.</summary>
    private sealed record Answerer(IContinuationScorer Scorer, IReadOnlyList<IDisposable> Owned) : IDisposable
    {
        public static Answerer Simulated(string folder)
        {
            var loaded = LoadedModel.Open(folder);
            try
            {
                var scorer = new SimulatedContinuations(loaded.Decoder, loaded.Tokenizer);
                return new Answerer(scorer, [scorer, loaded]);
            }
            catch
            {
                loaded.Dispose();
                throw;
            }
        }

        public static Answerer Of(Writer writer) => new(new EngineContinuations((IDecoderEngine)writer.Predictor, writer.Coder.Encode), [writer]);

        public void Dispose()
        {
            foreach (var owned in Owned)
            {
                owned.Dispose();
            }
        }
    }
}
