using System.CommandLine;
using System.Text;
using Nibble.Cli.Engines;
using Nibble.Cli.Rendering;
using Nibble.Torch.Evaluation;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble generate</c>: lets a model, an artifact or an exported file continue a text.</summary>
internal static class GenerateCommand
{
    private const int UsualTokens = 120;

    public static Command Create(CommandHost host)
    {
        var model = new Argument<string>("MODEL_OR_FILE") { Description = "The folder of a model or an artifact; or an exported file, a GGUF file or an ONNX file with its tokenizer beside it." };
        var prompt = new Option<string>("--prompt", "-p") { Description = "The text to continue.", Required = true };
        var engine = new Option<string?>("--engine")
        {
            Description = "What computes: nibble, the simulation, for folders; llama.cpp for GGUF files; onnxruntime for ONNX files. Where another is named, a folder is exported, and a file imported, into a temporary place.",
        };
        engine.AcceptOnlyFromAmong(EngineOptions.Nibble, LlamaCppEngine.EngineName, OnnxRuntimeEngine.EngineName);
        var libraries = EngineOptions.LibrariesFolder();
        var tokenizer = EngineOptions.TokenizerFolder();
        var tokens = CommonOptions.AtLeast("--max-tokens", 1, $"New tokens at most; {UsualTokens} when not given.");
        var temperature = new Option<double>("--temperature") { Description = "Divides the logits; 0 always takes the likeliest token.", DefaultValueFactory = _ => 0.8 }.Within(value => value >= 0 && double.IsFinite(value), "0 or more");
        var topP = new Option<double>("--top-p") { Description = "Sample from the likeliest tokens that hold this share of the probability.", DefaultValueFactory = _ => 0.95 }.Within(value => value is > 0 and <= 1, "above 0 and at most 1");
        var seed = CommonOptions.Seed();
        var threads = CommonOptions.Threads();
        var json = CommonOptions.Json();
        var command = new Command("generate", "Let a model continue a text, in the simulation or in an engine, to see with your own eyes what a width costs.")
        {
            model, prompt, engine, libraries, tokenizer, tokens, temperature, topP, seed, threads, json,
        };
        command.SetAction(parsed =>
        {
            var start = parsed.GetValue(prompt)!;
            var options = new GenerationOptions(parsed.GetValue(tokens) ?? UsualTokens, parsed.GetValue(temperature), parsed.GetValue(topP), parsed.GetValue(seed));
            var temporary = host.CreateTemporaryFolder("nibble-generate-");
            try
            {
                using var writer = Open(parsed.GetValue(model)!, parsed.GetValue(engine), file => Writer.Open(
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
                return asked is null or EngineOptions.Nibble ? Writer.Simulated(path) : open(EngineFile.Write(path, asked, temporary.FullName, type: null, host.Cancellation).File);
            }
        });
        return command;
    }

    /// <summary>The most tokens that a prompt and what follows can take: no tokenizer makes more of a text than its bytes and the marks around it.</summary>
    private static int Room(string prompt, GenerationOptions options) => (int)Math.Min(int.MaxValue, Encoding.UTF8.GetByteCount(prompt) + 8L + options.MaxTokens);

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
            host.WriteJson(new GenerateDocument(GenerateDocument.CurrentSchema, writer.Model, prompt, string.Concat(pieces), writer.Engine), CliJson.Default.GenerateDocument);
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
