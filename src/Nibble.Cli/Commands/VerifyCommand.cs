using System.CommandLine;
using System.Globalization;
using Nibble.Cli.Engines;
using Nibble.Cli.Rendering;
using Nibble.Torch.Data;
using Nibble.Torch.Export;
using Nibble.Torch.Models;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble verify</c>: whether an engine computes what Nibble simulates.</summary>
internal static class VerifyCommand
{
    private const string LlamaCpp = "llama.cpp";
    private const double UsualTolerance = 0.5;
    private const int ContinuedTokens = 64;

    public static Command Create(CommandHost host)
    {
        var model = CommonOptions.ModelOrArtifact();
        var data = new Option<string>("--data", "-d") { Description = "The text to compute: UTF-8, a line <|endoftext|> between two documents.", Required = true };
        var engine = new Option<string>("--engine") { Description = "The engine: llama.cpp.", DefaultValueFactory = _ => LlamaCpp };
        engine.AcceptOnlyFromAmong(LlamaCpp);
        var libraries = new Option<string?>("--engine-path") { Description = $"The folder of llama.cpp's shared libraries; the environment variable {LlamaCppLibraries.Variable}, or npm's package @node-llama-cpp/linux-x64 when not given." };
        var type = CommonOptions.GgufType("--type", "How matrices are stored in the file that the engine runs, as in nibble export.", GgufExporter.Types);
        var tolerance = new Option<double>("--tolerance") { Description = "By how many percent the perplexities may differ.", DefaultValueFactory = _ => UsualTolerance }.Within(value => value >= 0, "0 or more");
        var context = CommonOptions.Context();
        var windows = CommonOptions.Windows();
        var threads = CommonOptions.Threads();
        var json = CommonOptions.Json();
        var command = new Command("verify", "Run a model in an engine on real text, and compare logits, perplexity and the likeliest tokens with the simulation.")
        {
            model, data, engine, libraries, type, tolerance, context, windows, threads, json,
        };
        command.SetAction(parsed =>
        {
            var folder = LlamaCppLibraries.Find(parsed.GetValue(libraries));
            CommandHost.StartTorch(parsed.GetValue(threads));
            var source = parsed.GetValue(model)!;
            using var loaded = LoadedModel.Open(source);
            var text = TokenizedText.Read(parsed.GetValue(data)!, loaded.Tokenizer);
            var length = EvalCommand.WindowLength(parsed.GetValue(context), loaded);
            var temporary = Directory.CreateTempSubdirectory("nibble-verify-");
            try
            {
                var file = Path.Combine(temporary.FullName, "model.gguf");
                var notes = GgufExporter.Run(source, file, parsed.GetValue(type), progress: null, host.Cancellation).Notes;
                using var running = LlamaCppEngine.Start(folder, file, length, parsed.GetValue(threads) ?? Environment.ProcessorCount);
                var difference = host.WithProgress(progress => EngineComparison.Run(loaded, running, text, length, parsed.GetValue(windows), ContinuedTokens, progress, host.Cancellation));
                var same = Math.Abs(difference.PerplexityChange) * 100 <= parsed.GetValue(tolerance);
                Report(host, parsed.GetValue(json), loaded.Name, text.Name, difference, same, notes);
                return same ? ExitCode.Done : ExitCode.NoSolution;
            }
            finally
            {
                temporary.Delete(recursive: true);
            }
        });
        return command;
    }

    private static void Report(CommandHost host, bool json, string model, string data, EngineDifference difference, bool same, IReadOnlyList<string> notes)
    {
        var verdict = same ? "same" : "differs";
        if (json)
        {
            host.WriteJson(
                new VerifyDocument(
                    VerifyDocument.CurrentSchema, model, LlamaCpp, data, verdict, difference.Simulated, difference.Engine, difference.Divergence, difference.LargestDifference, difference.Agreement,
                    difference.Continued, difference.SameContinuation, difference.Windows, difference.Tokens, notes),
                CliJson.Default.VerifyDocument);
            return;
        }

        var culture = CultureInfo.InvariantCulture;
        host.Output.WriteLine(string.Create(culture, $"perplexity  {difference.Simulated:F4} simulated, {difference.Engine:F4} in {LlamaCpp} ({difference.PerplexityChange:+0.000%;-0.000%})"));
        host.Output.WriteLine(string.Create(culture, $"logits      KL {difference.Divergence:E2} nats a token, largest difference {difference.LargestDifference:F4}"));
        host.Output.WriteLine(string.Create(culture, $"likeliest   the same token at {difference.Agreement:P2} of {difference.Tokens} positions; of {difference.Continued} tokens written greedily, the first {difference.SameContinuation} are the same"));
        foreach (var note in notes)
        {
            host.Output.WriteLine($"note: {note}");
        }

        host.Output.WriteLine($"verdict     {verdict}");
    }
}
