using Nibble.Cli.Report;
using Nibble.Cli.Report.Documents;
using Nibble.Export;
using System.CommandLine;
using System.Globalization;
using Nibble.Cli.Engines;
using Nibble.Models;
using Nibble.Torch.Data;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble verify</c>: whether an engine computes what Nibble simulates.</summary>
internal static class VerifyCommand
{
    private const string LlamaCpp = LlamaCppEngine.EngineName;
    private const string OnnxRuntime = OnnxRuntimeEngine.EngineName;
    private const double UsualTolerance = 0.5;
    private const int ContinuedTokens = 64;

    public static Command Create(CommandHost host)
    {
        var model = new Argument<string>("MODEL_OR_FILE")
        {
            Description = "A Hugging Face folder, a folder that ptq, qat or compare wrote, or a GGUF file or an ONNX file of nibble export, "
            + "which is simulated and run as it is."
        };
        var data = new Option<string>("--data", "-d")
        {
            Description = "The text to compute: UTF-8, a line <|endoftext|> between two documents. For an encoder, lines as nibble eval "
            + "takes them.",
            Required = true
        };
        var engine = new Option<string?>("--engine")
        { Description = "The engine: llama.cpp or onnxruntime; when not given, onnxruntime for an ONNX file, otherwise llama.cpp." };
        engine.AcceptOnlyFromAmong(LlamaCpp, OnnxRuntime);
        var task = new TaskOptions();
        var file = new Option<string?>("--file")
        { Description = "The exported file of this model to run; when not given, the model is exported into a temporary one." };
        var libraries = EngineOptions.LibrariesFolder();
        var type = CommonOptions.GgufType(
            "--type", "llama.cpp: how matrices are stored in the file that the engine runs, as in nibble export.", GgufExporter.Types);
        var tolerance = NumberOptions.Number(
            "--tolerance", value => value >= 0, "0 or more",
            "By how many percent the perplexities may differ; when not given, by what the engine's rounding explains. For an encoder 0.5.");
        var logits = NumberOptions.Number(
            "--logit-tolerance", value => value >= 0, "0 or more",
            "By how much two log-probabilities may differ, in ONNX Runtime with ties between codes decided as there; when not given, by what rounding "
                + "explains.");
        var context = NumberOptions.AtLeast("--context", 4, "Tokens in a window, 512 when not given, or what the model can take.");
        var windows = NumberOptions.AtLeast("--windows", 1, "Compute only the first N windows, texts or pairs.");
        var threads = CommonOptions.Threads();
        var json = CommonOptions.Json();
        var command = new Command(
            "verify", "Run a model in an engine on real text, and compare logits, perplexity and the likeliest tokens with the simulation.")
        {
            model, data, engine, file, libraries, type, tolerance, logits, context, windows, threads, json,
        };
        task.AddTo(command);
        command.Validators.Add(result =>
        {
            // Values may be ones that the parser refuses.
            var path = result.GetResult(model)?.Tokens is [{ Value: var first }] ? first : string.Empty;
            var asked = result.GetResult(engine)?.Tokens is [{ Value: var second }] ? second : null;
            var given = EngineOf(path);
            var beside = result.GetResult(file)?.Tokens is [{ Value: var third }] ? EngineOf(third) : null;
            if ((asked ?? given ?? beside) == OnnxRuntime)
            {
                foreach (var option in ((Option[])[libraries, type]).Where(option => result.GetResult(option) is { Implicit: false }))
                {
                    result.AddError($"{option.Name} is for llama.cpp, but {(asked is null ? "an ONNX file is run in" : "--engine is")} {OnnxRuntime}.");
                }
            }

            if (result.GetResult(type) is { Implicit: false } && (given == LlamaCpp || result.GetResult(file) is { Implicit: false }))
            {
                result.AddError($"--type says how to export, but {(given is null ? "--file" : "a GGUF file")} is exported already.");
            }

            if (given is not null && (result.GetResult(file) is { Implicit: false } || (asked is not null && asked != given)))
            {
                result.AddError($"{(given == LlamaCpp ? "A GGUF file is run in llama.cpp" : "An ONNX file is run in ONNX Runtime")} as it is: leave --file and "
                    + $"--engine out, or give the folder of the model that it was made from.");
            }
        });
        command.SetAction(parsed =>
        {
            var (source, exported) = (parsed.GetValue(model)!, parsed.GetValue(file));
            var name = parsed.GetValue(engine) ?? EngineOf(source) ?? (exported is null ? null : EngineOf(exported)) ?? LlamaCpp;
            if (exported is not null && EngineOf(exported) is { } other && other != name)
            {
                throw new UsageException($"{exported} is run in {other}, but {engine.Name} is {name}; leave {engine.Name} out, or give another file");
            }

            var folder = name == LlamaCpp ? LlamaCppLibraries.Find(parsed.GetValue(libraries)) : string.Empty;
            CommandHost.StartTorch(parsed.GetValue(threads));
            var temporary = host.CreateTemporaryFolder("nibble-verify-");
            try
            {
                IReadOnlyList<string> imported = [];
                if (EngineOf(source) is { } own)
                {
                    exported = source;
                    source = Path.Combine(temporary.FullName, new ExportedFile(exported, own).Name);
                    var result = FileImport.Run(exported, source, progress: null, host.Cancellation);
                    imported = own == OnnxRuntime ? result.Notes : [];
                }

                using var loaded = task.Open(parsed, source);
                if (loaded.Definition.Task != ModelTask.LanguageModelling)
                {
                    return name == OnnxRuntime
                        ? VerifyEncoder(loaded)
                        : throw new NibbleException($"{source}: an encoder is exported to ONNX alone; add --engine {OnnxRuntime}");
                }

                var text = TokenizedText.Read(parsed.GetValue(data)!, loaded.Tokenizer);
                var length = EvalCommand.WindowLength(parsed.GetValue(context), loaded);
                var cores = EngineThreads.For(parsed.GetValue(threads), name, host.Warn);
                var (run, notes) = exported is not null ? (new ExportedFile(exported, name), imported)
                    : EngineFile.Write(source, name, temporary.FullName, parsed.GetValue(type), host.Cancellation);
                using IDecoderEngine running = name == LlamaCpp ? LlamaCppEngine.Start(folder, run.Path, length, cores)
                    : new OnnxRuntimeEngine(run.Path, cores);
                using var ties = DecoderTies.Open(loaded, run, cores);
                var rounding = name == LlamaCpp ? new EngineRounding(loaded.Decoder, run.Path) : null;
                var difference = host.WithProgress(
                    progress => EngineComparison.Run(
                    loaded, running, ties, rounding, text, length, parsed.GetValue(windows), ContinuedTokens, progress, host.Cancellation));

                var same = IsSame(difference, parsed.GetValue(tolerance), parsed.GetValue(logits));
                Report(host, parsed.GetValue(json), name, loaded.Name, text.Name, difference, same, [.. notes, .. Left(source)]);
                return same ? ExitCode.Done : ExitCode.NoSolution;
            }
            finally
            {
                temporary.Delete(recursive: true);
            }

            int VerifyEncoder(LoadedModel loaded)
            {
                CommonOptions.RefuseWithoutEffect(
                    parsed, $"it is for windows of a text; the texts of {loaded.Name} have lengths of their own (see {task.MaxLength.Name})", context);
                var texts = task.ReadData(host, parsed, parsed.GetValue(data)!, loaded);
                var path = exported ?? EngineFile.Write(source, name, temporary.FullName, type: null, host.Cancellation, loaded.Task).File.Path;
                var verification = new EncoderVerification(
                    texts, path, parsed.GetValue(windows), parsed.GetValue(tolerance) ?? UsualTolerance, parsed.GetValue(logits),
                    ThreadLimit.Cap(parsed.GetValue(threads)));
                return verification.Run(host, loaded, parsed.GetValue(json));
            }
        });
        return command;
    }

    /// <summary>What both sides leave out, so that the comparison cannot tell.</summary>
    private static IEnumerable<string> Left(string folder) => UnknownKeys.In(folder) is { } sentence ? [sentence] : [];

    /// <summary>The engine that runs a path as it is; null where the path is none of a file that was exported.</summary>
    private static string? EngineOf(string path) =>
        Directory.Exists(path) ? null
        : path.EndsWith(".gguf", StringComparison.OrdinalIgnoreCase) ? LlamaCpp
        : path.EndsWith(".onnx", StringComparison.OrdinalIgnoreCase) ? OnnxRuntime
        : null;

    /// <summary>Whether the engine computes what was simulated: within the tolerances that are given, and where none is, up to what rounding explains. NaN is
    /// within none.</summary>
    private static bool IsSame(EngineDifference difference, double? tolerance, double? logitTolerance) =>
        (tolerance is null || Math.Abs(difference.PerplexityChange) * 100 <= tolerance)
        && (logitTolerance is not { } limit || (difference.Ties?.IsWithin(limit) ?? difference.LargestDifference <= limit))
        && (tolerance is not null || logitTolerance is not null || difference.IsExplained);

    private static void Report(
        CommandHost host, bool json, string engine, string model, string data, EngineDifference difference, bool same, IReadOnlyList<string> notes)
    {
        var verdict = same ? "same" : "differs";
        if (json)
        {
            host.WriteJson(
                new VerifyDocument(
                    VerifyDocument.CurrentSchema, model, engine, data, verdict, difference.Simulated, difference.Engine, difference.Divergence,
                    difference.LargestDifference, difference.Agreement,
                    difference.Continued, difference.SameContinuation, difference.Windows, difference.Tokens, notes, difference.OwnDivergence,
                    difference.OwnDifference, difference.Ties)
                {
                    Explained = difference.Explained,
                },
                CliJson.Default.VerifyDocument);
            return;
        }

        var culture = CultureInfo.InvariantCulture;

        // Rounded first: of a negative number that a format rounds to zero, both signs would be shown. Adding 0 takes the sign of a negative zero.
        var change = Math.Round(difference.PerplexityChange, 5) + 0d;
        host.Output.WriteLine(string.Create(
            culture, $"perplexity  {difference.Simulated:F4} simulated, {difference.Engine:F4} in {engine} ({change:+0.000%;-0.000%})"));
        host.Output.WriteLine(string.Create(
            culture, $"logits      KL {difference.Divergence:E2} nats a token, largest difference {difference.LargestDifference:G3}"));
        host.Output.WriteLine(string.Create(
            culture, $"rounding    KL {difference.OwnDivergence:E2}, largest difference {difference.OwnDifference:G3}: the simulation from itself, one token "
            + $"after the other, over the first windows"));
        if (difference.Explained is { } explained)
        {
            host.Output.WriteLine(string.Create(
                culture, $"explained   KL {explained.Explained:E2} by the engine's rounding of inputs, keys and values, which is not simulated; beside it KL "
                    + $"{explained.Left:E2} is left ({explained.Limit:E2} allowed)"));
        }

        TieReport.Write(host.Output, difference.Ties);
        host.Output.WriteLine(string.Create(
            culture, $"likeliest   the same token at {difference.Agreement:P2} of {difference.Tokens} positions; of {difference.Continued} tokens written "
            + $"greedily, the first {difference.SameContinuation} are the same"));
        foreach (var note in notes)
        {
            host.Output.WriteLine($"note: {note}");
        }

        host.Output.WriteLine($"verdict     {verdict}");
    }
}
