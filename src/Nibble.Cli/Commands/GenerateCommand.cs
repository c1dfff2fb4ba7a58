using Nibble.Cli.Report.Documents;
using System.CommandLine;
using System.Text;
using Nibble.Cli.Engines;
using Nibble.Formats.HuggingFace;
using Nibble.Torch.Evaluation;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble generate</c>: continues text with a model, an artifact or an exported file.</summary>
internal static class GenerateCommand
{
    private const int DefaultTokens = 120;
    private const double DefaultTemperature = 0.8;
    private const double DefaultTopP = 0.95;

    public static Command Create(CommandHost host)
    {
        var model = new Argument<string>("MODEL_OR_FILE")
        {
            Description = "A model or artifact folder, or an exported file: a GGUF file, or an ONNX file with its tokenizer "
            + "next to it."
        };
        var prompt = new Option<string>("--prompt", "-p") { Description = "Text to continue.", Required = true };
        var engine = EngineOptions.Engine();
        var libraries = EngineOptions.LibrariesFolder();
        var tokenizer = EngineOptions.TokenizerFolder();
        var tokens = NumberOptions.AtLeast("--max-tokens", 1, $"Maximum number of new tokens. Default: {DefaultTokens}.");
        var temperature = NumberOptions.Number(
            "--temperature", value => value >= 0, "0 or more",
            $"Sampling temperature; 0 always takes the most likely token. Default: the value in the model's {GenerationConfig.FileName}, or "
                + $"{DefaultTemperature}.");
        var topP = NumberOptions.Number(
            "--top-p", value => value is > 0 and <= 1, "above 0 and at most 1",
            "Share of the probability to sample from, most likely tokens first. "
                + $"Default: the value in the model's {GenerationConfig.FileName}, or {DefaultTopP}.");
        var seed = CommonOptions.Seed();
        var threads = CommonOptions.Threads();
        var json = CommonOptions.Json();
        var command = new Command("generate", "Continue text with a model, in the simulation or in an engine, to see what a bit width costs in practice.")
        {
            model, prompt, engine, libraries, tokenizer, tokens, temperature, topP, seed, threads, json,
        };
        command.SetAction(parsed =>
        {
            var (source, start) = (parsed.GetValue(model)!, parsed.GetValue(prompt)!);
            EngineOptions.RefuseOfOthers(parsed, [EngineRun.Of(source, parsed.GetValue(engine))], libraries, tokenizer);
            if (parsed.GetValue(temperature) == 0)
            {
                CommonOptions.RefuseWithoutEffect(parsed, "--temperature 0 always takes the most likely token", topP);
            }

            var options = Options(
                host, source, parsed.GetValue(tokens) ?? DefaultTokens, parsed.GetValue(temperature), parsed.GetValue(topP), parsed.GetValue(seed));
            var temporary = host.CreateTemporaryFolder("nibble-generate-");
            try
            {
                using var writer = EngineRun.Open(
                    host,
                    source,
                    parsed.GetValue(engine),
                    temporary.FullName,
                    parsed.GetValue(threads),
                    Writer.Simulated,
                    file => Writer.Open(
                        file,
                        parsed.GetValue(libraries),
                        parsed.GetValue(tokenizer),
                        Room(start, options),
                        EngineThreads.For(parsed.GetValue(threads), file.Engine, host.Warn)));
                Write(host, writer, start, options, parsed.GetValue(json));
                return ExitCode.Done;
            }
            finally
            {
                temporary.Delete(recursive: true);
            }
        });
        return command;
    }

    /// <summary>The sampling settings: those given, or else those of the model's own file.</summary>
    private static GenerationOptions Options(CommandHost host, string path, int tokens, double? temperature, double? topP, long seed)
    {
        var folder = Directory.Exists(path) ? path : ExportedFile.Find(path) is { Engine: OnnxRuntimeEngine.EngineName } file ? file.Folder : null;
        var own = folder is null ? null : GenerationConfig.Read(folder);
        if (own is { Others.Count: > 0 })
        {
            host.Warn($"{Path.Combine(folder!, GenerationConfig.FileName)}: {string.Join(", ", own.Others)} {(own.Others.Count == 1 ? "is" : "are")} not "
                + "supported and not applied");
        }

        // If the file enables sampling but omits a value, that value is the neutral one. If it disables sampling, the most likely token is taken.
        var (otherTemperature, otherTopP) = own?.Samples switch { true => (1, 1), false => (0, 1), null => (DefaultTemperature, DefaultTopP) };
        return new GenerationOptions(tokens, temperature ?? (own?.Samples is false ? 0 : own?.Temperature) ?? otherTemperature, topP ?? own?.TopP
            ?? otherTopP, seed);
    }

    /// <summary>The most tokens that a prompt and its continuation can take: no tokenizer makes more tokens than bytes, plus special tokens.</summary>
    private static int Room(string prompt, GenerationOptions options) =>
        (int)Math.Min(int.MaxValue, Encoding.UTF8.GetByteCount(prompt) + 8L + options.MaxTokens);

    private static void Write(CommandHost host, Writer writer, string prompt, GenerationOptions options, bool json)
    {
        var pieces = writer.Continue(prompt, options, host.Cancellation);
        if (json)
        {
            host.WriteJson(new GenerateDocument(GenerateDocument.CurrentSchema, writer.Model, prompt, string.Concat(pieces), writer.Engine),
                CliJson.Default.GenerateDocument);
            return;
        }

        // The first token is computed before the prompt is shown, so that a refused prompt shows nothing.
        using var piece = pieces.GetEnumerator();
        var more = piece.MoveNext();
        host.WriteForeign(prompt);
        for (; more; more = piece.MoveNext())
        {
            host.WriteForeign(piece.Current);
            host.Output.Flush();
        }

        host.Output.WriteLine();
    }
}
