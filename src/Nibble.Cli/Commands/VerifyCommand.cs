using Nibble.Cli.Report;
using Nibble.Cli.Report.Documents;
using Nibble.Export;
using System.CommandLine;
using System.Globalization;
using Nibble.Cli.Engines;
using Nibble.Models;
using Nibble.Onnx;
using Nibble.Torch.Data;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble verify</c>: checks that an engine computes what Nibble simulates.</summary>
internal static class VerifyCommand
{
    private const string LlamaCpp = LlamaCppEngine.EngineName;
    private const string OnnxRuntime = OnnxRuntimeEngine.EngineName;
    private const double DefaultTolerance = 0.5;
    private const int ContinuedTokens = 64;

    public static Command Create(CommandHost host)
    {
        var model = new Argument<string>("MODEL_OR_FILE")
        {
            Description = "A Hugging Face model folder, an artifact folder written by ptq, qat or compare, or an exported GGUF or ONNX file, "
            + "which is simulated and run unchanged. With --against, any quantized ONNX file."
        };
        var data = CommonOptions.Data(
            "Evaluation data: UTF-8 text with a line <|endoftext|> between documents. For an encoder, lines in the format of nibble eval. With --against, what "
            + "the model's inputs are in use, as in nibble quantize.", required: true);
        var against = new Option<string?>("--against")
        { Description = "The float ONNX file that MODEL_OR_FILE was quantized from. Both run on the data, and nothing is simulated." };
        var samples = new OnnxDataOptions(data, "With --against only.", "Samples to compare on at most. Default: all.")
        {
            RandomWarning = "random data: the errors below are not those of real data",
        };
        var engine = new Option<string?>("--engine")
        { Description = "Inference engine: llama.cpp or onnxruntime. Default: onnxruntime for an ONNX file, otherwise llama.cpp." };
        engine.AcceptOnlyFromAmong(LlamaCpp, OnnxRuntime);
        var task = new TaskOptions();
        var file = new Option<string?>("--file")
        { Description = "Exported file of this model to run. Default: a temporary export." };
        var libraries = EngineOptions.LibrariesFolder();
        var type = CommonOptions.GgufType(
            "--type", "Matrix type of the temporary export, llama.cpp only, as in nibble export.", GgufExporter.Types);
        var tolerance = NumberOptions.Number(
            "--tolerance", value => value >= 0, "0 or more",
            "Largest acceptable difference of the perplexities, in percent. Default: what the engine's rounding explains; 0.5 for encoders. "
                + "With --against, largest relative error of an output, in percent; default: any.");
        var logits = NumberOptions.Number(
            "--logit-tolerance", value => value >= 0, "0 or more",
            "Largest acceptable difference of two log-probabilities; in ONNX Runtime, after ties between codes are decided as in the engine. Default: "
                + "what rounding explains.");
        var context = NumberOptions.AtLeast("--context", 4, "Tokens per window. Default: 512, or the model's limit if smaller.");
        var windows = NumberOptions.AtLeast("--windows", 1, "Number of windows, texts or pairs to compute, from the start. Default: all.");
        var threads = CommonOptions.Threads();
        var json = CommonOptions.Json();
        var command = new Command(
            "verify", "Run a model in an engine on real text, and compare perplexity, logits and top-1 tokens with the simulation; or compare a quantized "
                + "ONNX file with its float file.")
        {
            model, data, against, engine, file, libraries, type, tolerance, logits, context, windows, threads, json,
        };
        task.AddTo(command);
        foreach (var option in samples.Own)
        {
            command.Add(option);
        }

        command.Validators.Add(result =>
        {
            // The parser may have refused these values.
            var path = result.GetResult(model)?.Tokens is [{ Value: var first }] ? first : string.Empty;
            var asked = result.GetResult(engine)?.Tokens is [{ Value: var second }] ? second : null;
            var given = EngineOf(path);
            if (result.GetResult(against) is not { Implicit: false })
            {
                OnnxDataOptions.Refuse(result, samples.Own, $"is for two ONNX files, and {against.Name} is not given");
            }
            else
            {
                if (given != OnnxRuntime || !(result.GetResult(against)?.Tokens is [{ Value: var single }] && EngineOf(single) == OnnxRuntime))
                {
                    result.AddError(
                        $"{against.Name} compares two ONNX files (*.onnx): MODEL_OR_FILE, which is quantized, and the float file that it was made from.");
                }

                OnnxDataOptions.Refuse(
                    result, [engine, file, libraries, type, logits, context, windows, task.Task, task.Pooling, task.Normalize, task.MaxLength],
                    $"is for a comparison with the simulation, but {against.Name} is given");
                return;
            }

            var beside = result.GetResult(file)?.Tokens is [{ Value: var third }] ? EngineOf(third) : null;
            if ((asked ?? given ?? beside) == OnnxRuntime)
            {
                foreach (var option in ((Option[])[libraries, type]).Where(option => result.GetResult(option) is { Implicit: false }))
                {
                    result.AddError(
                        $"{option.Name} is for llama.cpp, but {(asked is null ? "an ONNX file runs in" : "--engine is")} {OnnxRuntime}; remove it.");
                }
            }

            if (result.GetResult(type) is { Implicit: false } && (given == LlamaCpp || result.GetResult(file) is { Implicit: false }))
            {
                result.AddError($"--type is for a temporary export, but {(given is null ? "--file" : "a GGUF file")} is exported already; remove it.");
            }

            if (given is not null && (result.GetResult(file) is { Implicit: false } || (asked is not null && asked != given)))
            {
                result.AddError($"{(given == LlamaCpp ? "A GGUF file runs unchanged in llama.cpp" : "An ONNX file runs unchanged in ONNX Runtime")}; remove "
                    + $"--file and --engine, or give the folder of the model that the file was made from.");
            }
        });
        command.SetAction(parsed =>
        {
            var (source, exported) = (parsed.GetValue(model)!, parsed.GetValue(file));
            if (parsed.GetValue(against) is { } original)
            {
                return new OnnxVerification(source, original, parsed.GetValue(tolerance) / 100, ThreadLimit.Cap(parsed.GetValue(threads)))
                    .Run(host, samples.Open(host, parsed, original), samples.Run(parsed), samples.Limit(parsed), parsed.GetValue(json));
            }

            if (EngineOf(source) == OnnxRuntime && !OnnxMetadata.HasModel(OnnxFile.Open(source)))
            {
                throw new UsageException(
                    $"{source} was not made by nibble export, so there is nothing to simulate; give {against.Name} with the float ONNX file that it was made "
                    + "from");
            }

            var name = parsed.GetValue(engine) ?? EngineOf(source) ?? (exported is null ? null : EngineOf(exported)) ?? LlamaCpp;
            if (exported is not null && EngineOf(exported) is { } other && other != name)
            {
                throw new UsageException($"{exported} runs in {other}, but {engine.Name} is {name}; remove {engine.Name}, or give another file");
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
                        : throw new NibbleException($"{source} is an encoder, which can only be exported to ONNX; add --engine {OnnxRuntime}");
                }

                var text = TokenizedText.Read(host.DataFiles(parsed.GetValue(data)!), loaded.Tokenizer);
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
                    parsed, $"it is for windows of text, but each text of {loaded.Name} is read on its own (see {task.MaxLength.Name})", context);
                var texts = task.ReadData(host, parsed, parsed.GetValue(data)!, loaded);
                var path = exported ?? EngineFile.Write(source, name, temporary.FullName, type: null, host.Cancellation, loaded.Task).File.Path;
                var verification = new EncoderVerification(
                    texts, path, parsed.GetValue(windows), parsed.GetValue(tolerance) ?? DefaultTolerance, parsed.GetValue(logits),
                    ThreadLimit.Cap(parsed.GetValue(threads)));
                return verification.Run(host, loaded, parsed.GetValue(json));
            }
        });
        return command;
    }

    /// <summary>A note on what both sides ignore, which the comparison cannot detect.</summary>
    private static IEnumerable<string> Left(string folder) => UnknownKeys.In(folder) is { } sentence ? [sentence] : [];

    /// <summary>The engine that runs a file; null if the path is not an exported file.</summary>
    private static string? EngineOf(string path) =>
        Directory.Exists(path) ? null
        : path.EndsWith(".gguf", StringComparison.OrdinalIgnoreCase) ? LlamaCpp
        : path.EndsWith(".onnx", StringComparison.OrdinalIgnoreCase) ? OnnxRuntime
        : null;

    /// <summary>Whether the engine computes what was simulated: within the given tolerances, or else up to what rounding explains. NaN is never
    /// within tolerance.</summary>
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

        // Rounded first: a format that rounds a negative number to zero would show both signs. Adding 0 removes the sign of a negative zero.
        var change = Math.Round(difference.PerplexityChange, 5) + 0d;
        host.Output.WriteLine(string.Create(
            culture, $"perplexity  {difference.Simulated:F4} simulated, {difference.Engine:F4} in {engine} ({change:+0.000%;-0.000%})"));
        host.Output.WriteLine(string.Create(
            culture, $"logits      KL {difference.Divergence:E2} nats per token, largest difference {difference.LargestDifference:G3}"));
        host.Output.WriteLine(string.Create(
            culture, $"rounding    KL {difference.OwnDivergence:E2}, largest difference {difference.OwnDifference:G3}: the simulation compared "
            + $"with itself, computed token by token, on the first windows"));
        if (difference.Explained is { } explained)
        {
            host.Output.WriteLine(string.Create(
                culture, $"explained   KL {explained.Explained:E2} by the engine's rounding of inputs, keys and values, which is not simulated; KL "
                    + $"{explained.Left:E2} remains ({explained.Limit:E2} allowed)"));
        }

        TieReport.Write(host.Output, difference.Ties);
        host.Output.WriteLine(string.Create(
            culture, $"top-1       the same token at {difference.Agreement:P2} of {difference.Tokens} positions; of {difference.Continued} tokens generated "
            + $"greedily, the first {difference.SameContinuation} are the same"));
        foreach (var note in notes)
        {
            host.Output.WriteLine($"note: {note}");
        }

        host.Output.WriteLine($"verdict     {verdict}");
    }
}
