using Nibble.Cli.Report.Documents;
using System.CommandLine;
using System.Text;
using Nibble.Cli.Engines;
using Nibble.Formats.HuggingFace;
using Nibble.Torch.Evaluation;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble generate</c>: lets a model, an artifact or an exported file continue a text.</summary>
internal static class GenerateCommand
{
    private const int DefaultTokens = 120;
    private const double DefaultTemperature = 0.8;
    private const double DefaultTopP = 0.95;

    public static Command Create(CommandHost host)
    {
        var model = new Argument<string>("MODEL_OR_FILE")
        {
            Description = "The folder of a model or an artifact; or an exported file, a GGUF file or an ONNX file with its tokenizer "
            + "beside it."
        };
        var prompt = new Option<string>("--prompt", "-p") { Description = "The text to continue.", Required = true };
        var engine = new Option<string?>("--engine")
        {
            Description = "What computes: nibble, the simulation, for folders; llama.cpp for GGUF files; onnxruntime for ONNX files. Where another is named, a "
                + "folder is exported, and a file imported, into a temporary place.",
        };
        engine.AcceptOnlyFromAmong(EngineOptions.Nibble, LlamaCppEngine.EngineName, OnnxRuntimeEngine.EngineName);
        var libraries = EngineOptions.LibrariesFolder();
        var tokenizer = EngineOptions.TokenizerFolder();
        var tokens = NumberOptions.AtLeast("--max-tokens", 1, $"New tokens at most; {DefaultTokens} when not given.");
        var temperature = NumberOptions.Number(
            "--temperature", value => value >= 0, "0 or more",
            $"Divides the logits; 0 always takes the likeliest token. As the model's {GenerationConfig.FileName} says when not given, otherwise "
                + $"{DefaultTemperature}.");
        var topP = NumberOptions.Number(
            "--top-p", value => value is > 0 and <= 1, "above 0 and at most 1",
            "Sample from the likeliest tokens that hold this share of the probability. "
                + $"As the model's {GenerationConfig.FileName} says when not given, otherwise {DefaultTopP}.");
        var seed = CommonOptions.Seed();
        var threads = CommonOptions.Threads();
        var json = CommonOptions.Json();
        var command = new Command("generate", "Let a model continue a text, in the simulation or in an engine, to see with your own eyes what a width costs.")
        {
            model, prompt, engine, libraries, tokenizer, tokens, temperature, topP, seed, threads, json,
        };
        command.SetAction(parsed =>
        {
            var (source, start) = (parsed.GetValue(model)!, parsed.GetValue(prompt)!);
            var computing = parsed.GetValue(engine) ?? ExportedFile.Find(source)?.Engine ?? EngineOptions.Nibble;
            if (computing != LlamaCppEngine.EngineName)
            {
                CommonOptions.RefuseWithoutEffect(parsed, $"it is for llama.cpp, and the text is written by {computing}", libraries);
            }

            if (computing != OnnxRuntimeEngine.EngineName)
            {
                CommonOptions.RefuseWithoutEffect(parsed, $"it is for ONNX Runtime, and the text is written by {computing}", tokenizer);
            }

            if (parsed.GetValue(temperature) == 0)
            {
                CommonOptions.RefuseWithoutEffect(parsed, "--temperature 0 always takes the likeliest token", topP);
            }

            var options = Options(
                host, source, parsed.GetValue(tokens) ?? DefaultTokens, parsed.GetValue(temperature), parsed.GetValue(topP), parsed.GetValue(seed));
            var temporary = host.CreateTemporaryFolder("nibble-generate-");
            try
            {
                using var writer = Open(source, parsed.GetValue(engine), file => Writer.Open(
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

            Writer Open(string path, string? asked, Func<ExportedFile, Writer> open)
            {
                if (ExportedFile.Find(path) is { } file)
                {
                    if (asked is null || asked == file.Engine)
                    {
                        return open(file);
                    }

                    path = Import(file, temporary.FullName);
                }

                CommandHost.StartTorch(parsed.GetValue(threads));
                return asked is null or EngineOptions.Nibble ? Writer.Simulated(path)
                    : open(EngineFile.Write(path, asked, temporary.FullName, type: null, host.Cancellation).File);
            }
        });
        return command;
    }

    /// <summary>How to sample: as asked for, otherwise as the model's own file says.</summary>
    private static GenerationOptions Options(CommandHost host, string path, int tokens, double? temperature, double? topP, long seed)
    {
        var folder = Directory.Exists(path) ? path : ExportedFile.Find(path) is { Engine: OnnxRuntimeEngine.EngineName } file ? file.Folder : null;
        var own = folder is null ? null : GenerationConfig.Read(folder);
        if (own is { Others.Count: > 0 })
        {
            host.Warn($"{Path.Combine(folder!, GenerationConfig.FileName)}: {string.Join(", ", own.Others)} {(own.Others.Count == 1 ? "is" : "are")} not "
                + "applied");
        }

        // A file that asks for sampling and leaves a number out means the one that changes nothing; one that asks for none means the likeliest.
        var (otherTemperature, otherTopP) = own?.Samples switch { true => (1, 1), false => (0, 1), null => (DefaultTemperature, DefaultTopP) };
        return new GenerationOptions(tokens, temperature ?? (own?.Samples is false ? 0 : own?.Temperature) ?? otherTemperature, topP ?? own?.TopP
            ?? otherTopP, seed);
    }

    /// <summary>The most tokens that a prompt and what follows can take: no tokenizer makes more of a text than its bytes and the marks around it.</summary>
    private static int Room(string prompt, GenerationOptions options) =>
        (int)Math.Min(int.MaxValue, Encoding.UTF8.GetByteCount(prompt) + 8L + options.MaxTokens);

    /// <summary>Makes a folder of a file, so that something else than its engine can compute it.</summary>
    private static string Import(ExportedFile file, string folder)
    {
        var imported = Path.Combine(folder, file.Name);
        FileImport.Run(file.Path, imported);
        return imported;
    }

    private static void Write(CommandHost host, Writer writer, string prompt, GenerationOptions options, bool json)
    {
        var pieces = writer.Continue(prompt, options, host.Cancellation);
        if (json)
        {
            host.WriteJson(new GenerateDocument(GenerateDocument.CurrentSchema, writer.Model, prompt, string.Concat(pieces), writer.Engine),
                CliJson.Default.GenerateDocument);
            return;
        }

        // The first token comes before the prompt is shown, so that a prompt that is refused shows nothing.
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
