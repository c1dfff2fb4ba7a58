using Nibble.Cli.Report.Documents;
using Nibble.Files;
using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Nibble.Cli.Report;
using Nibble.Formats.Gguf;
using Nibble.Onnx.Quantization;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble quantize</c>: quantizes a file: the matrices of a GGUF file, as llama.cpp's quantizer does, or an ONNX graph.</summary>
internal static class QuantizeCommand
{
    public static Command Create(CommandHost host)
    {
        var source = new Argument<string>("FILE") { Description = "A GGUF file with f32, f16 or bf16 matrices, or a float ONNX file." };
        var type = Mixture();
        var output = new Option<string>("--output", "-o") { Description = "Output file. It must not exist yet.", Required = true };
        var pure = new Option<bool>("--pure")
        { Description = "GGUF only. Give all matrices the same type, including the head and others that llama.cpp gives more bits." };
        var threads = NumberOptions.AtLeast(CommonOptions.ThreadsName, 1, "GGUF only. Number of threads. Default: all cores.");
        var importance = new Option<string>("--imatrix")
        {
            Description = "GGUF only. Importance matrix from nibble imatrix or llama.cpp, which weights the error of each column. Low bit widths benefit from "
                + "one.",
        };
        var json = CommonOptions.Json();
        var onnx = new OnnxQuantizeOptions();
        var command = new Command(
            "quantize", "Quantize a file: GGUF to another type, as llama.cpp's quantizer does, or ONNX to INT8 or to 4-bit weights for ONNX Runtime.") { source,
            output, type, importance, pure, threads, json };
        foreach (var option in onnx.All)
        {
            command.Add(option);
        }

        command.Validators.Add(result =>
        {
            var isOnnx = result.GetResult(source)?.Tokens is [{ Value: var path }] && IsOnnx(path);
            var foreign = isOnnx ? [type, importance, pure, threads] : onnx.All;
            foreach (var option in foreign.Where(option => result.GetResult(option) is { Implicit: false }))
            {
                result.AddError($"{option.Name} is for {(isOnnx ? "GGUF" : "ONNX")} files, but FILE is {(isOnnx ? "an ONNX" : "a GGUF")} file; remove it.");
            }

            if (!isOnnx && result.GetResult(type) is null)
            {
                result.AddError($"A GGUF file needs {type.Name}: the type of its matrices.");
            }
        });
        command.SetAction(parsed =>
        {
            var started = Stopwatch.GetTimestamp();
            var path = parsed.GetValue(output)!;
            OutputPlace.RequireNewFile(path);
            if (IsOnnx(parsed.GetValue(source)!))
            {
                OutputPlace.RequireReport(parsed.GetValue(onnx.Report));
                Quantize(host, parsed, onnx, parsed.GetValue(source)!, path, parsed.GetValue(json));
                return ExitCode.Done;
            }

            var weights = parsed.GetValue(importance) is { } matrix ? ImportanceMatrix.Read(matrix) : null;
            var result = host.WithProgress(progress => GgufQuantizer.Run(
                parsed.GetValue(source)!,
                path,
                parsed.GetValue(type)!,
                parsed.GetValue(pure),
                ThreadLimit.Cap(parsed.GetValue(threads)),
                weights,
                progress,
                host.Cancellation));
            Report(host, parsed.GetValue(json), path, result, Stopwatch.GetElapsedTime(started).TotalSeconds);
            return ExitCode.Done;
        });
        return command;
    }

    private static void Quantize(CommandHost host, ParseResult parsed, OnnxQuantizeOptions onnx, string model, string output, bool json)
    {
        var started = Stopwatch.GetTimestamp();
        var samples = onnx.Data.Open(host, parsed, model, onnx.Seed(parsed));
        var options = onnx.Read(host, parsed, samples);
        if (parsed.GetValue(onnx.DryRun))
        {
            CommonOptions.RefuseWithoutEffect(parsed, "a dry run writes nothing", onnx.Report);
            var estimate = OnnxQuantizer.Estimate(model, samples.Samples(), options, host.Cancellation);
            OnnxQuantizeReport.Write(host, json, new OnnxEstimateDocument(
                OnnxEstimateDocument.CurrentSchema, model, options.Mode, estimate.SourceBytes, options.DataName, samples.Count, options.Samples,
                estimate.Passes, estimate.PeakBytes, estimate.Modes, estimate.Notes, Stopwatch.GetElapsedTime(started).TotalSeconds));
            return;
        }

        var result = host.WithProgress(progress => OnnxQuantizer.Run(model, output, samples.Samples(), options, progress, host.Cancellation));
        using var process = Process.GetCurrentProcess();
        var document = new OnnxQuantizeDocument(
            OnnxQuantizeDocument.CurrentSchema, result.Path, result.Mode, result.Bytes, result.SourceBytes, options.DataName, result.CalibrationSamples,
            result.ComparedSamples, result.IsHeldOut, result.Outputs, result.Layers, result.Timing, result.Trials, result.Nodes, result.Transformations,
            Stopwatch.GetElapsedTime(started).TotalSeconds, process.PeakWorkingSet64);
        CommandHost.Deliver(
            () =>
            {
                if (parsed.GetValue(onnx.Report) is { } report)
                {
                    HtmlPage.Write(report, OnnxQuantizeHtml.Render(document, CommonOptions.CommandLine(parsed.Tokens.Select(token => token.Value))));
                }
            },
            () => OnnxQuantizeReport.Write(host, json, document));
    }

    private static bool IsOnnx(string path) => path.EndsWith(".onnx", StringComparison.OrdinalIgnoreCase);

    private static void Report(CommandHost host, bool json, string path, GgufQuantization result, double seconds)
    {
        List<string> notes = [.. Notes(result)];
        if (json)
        {
            using var process = Process.GetCurrentProcess();
            host.WriteJson(
                new GgufDocument(
                    GgufDocument.CurrentSchema, path, result.Bytes, result.SourceBytes,
                    result.Types.ToDictionary(entry => entry.Type.ToString(), entry => entry.Tensors),
                    result.Ragged, result.Unweighted, seconds, process.PeakWorkingSet64)
                {
                    Fallbacks = [.. result.Fallbacks.Select(fallback =>
                        new FallbackEntry(fallback.Wanted.ToString(), fallback.Type.ToString(), fallback.Tensors, fallback.Example, fallback.Columns))],
                    Copied = result.Copied,
                    Unchanged = result.Unchanged,
                    ImportanceIgnored = result.ImportanceIgnored,
                    Notes = notes,
                },
                CliJson.Default.GgufDocument);
            return;
        }

        var types = string.Join(", ", result.Types.Select(entry => string.Create(CultureInfo.InvariantCulture, $"{entry.Tensors} {entry.Type}")));
        host.Output.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{path}: {result.Bytes:N0} bytes ({Numbers.Smaller(result.Bytes, result.SourceBytes)}), tensors: {types}, {seconds:F2} s"));
        notes.ForEach(note => host.Output.WriteLine($"note: {note}"));
    }

    /// <summary>Notes on tensors that did not get the requested type, and on options without effect.</summary>
    private static IEnumerable<string> Notes(GgufQuantization result) =>
    [
        .. result.Fallbacks.Select(fallback => string.Create(
            CultureInfo.InvariantCulture,
            $"{fallback.Tensors} {(fallback.Type == GgufType.F16 ? "stay" : "became")} {fallback.Type} instead of {fallback.Wanted}, because blocks of "
                + $"{fallback.Wanted.BlockSize()} do not divide their rows: {fallback.Example} has {fallback.Columns} columns")),
        .. Note(result.Copied, "are copied unchanged, because they are not weight matrices"),
        .. Note(result.Unchanged, "already have the type and keep their codes"),
        .. Note(result.Unweighted, "are not in the importance matrix, so all their columns have equal weight"),
        .. Note(result.ImportanceIgnored, "do not use the importance matrix, which has no effect on their types"),
        .. result.Bytes > result.SourceBytes ? (string[])["the file is not smaller than its source"] : [],
    ];

    private static IEnumerable<string> Note(IReadOnlyList<string> names, string what) =>
        names.Count == 0 ? [] : [$"{names.Count} {what}: {string.Join(", ", names.Take(3))}{(names.Count > 3 ? " ..." : string.Empty)}"];

    private static Option<GgufMixture> Mixture()
    {
        var names = string.Join(", ", GgufMixture.All.Select(mixture => mixture.Name));
        return new("--type")
        {
            Description = $"GGUF only, required. Matrix type or mixture of types: {names}.",
            CustomParser = result =>
            {
                if (result.Tokens is [{ Value: var text }] && GgufMixture.Find(text) is { } mixture)
                {
                    return mixture;
                }

                result.AddError($"--type: '{string.Join(' ', result.Tokens)}' is not one of {names}.");
                return null;
            },
        };
    }
}
