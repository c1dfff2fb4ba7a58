using Nibble.Cli.Report.Documents;
using Nibble.Files;
using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Nibble.Cli.Report;
using Nibble.Formats.Gguf;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble quantize</c>: quantizes the matrices of a GGUF file, as llama.cpp's quantizer does.</summary>
internal static class QuantizeCommand
{
    public static Command Create(CommandHost host)
    {
        var source = new Argument<string>("FILE") { Description = "A GGUF file with f32, f16 or bf16 matrices." };
        var type = Mixture();
        var output = new Option<string>("--output", "-o") { Description = "Output file. It must not exist yet.", Required = true };
        var pure = new Option<bool>("--pure")
        { Description = "Give all matrices the same type, including the head and others that llama.cpp gives more bits." };
        var threads = NumberOptions.AtLeast(CommonOptions.ThreadsName, 1, "Number of threads. Default: all cores.");
        var importance = new Option<string>("--imatrix")
        { Description = "Importance matrix from nibble imatrix or llama.cpp, which weights the error of each column. Low bit widths benefit from one." };
        var json = CommonOptions.Json();
        var command = new Command(
            "quantize", "Quantize a GGUF file to another type, tensor by tensor, as llama.cpp's quantizer does.") { source, type, output, importance, pure,
            threads, json };
        command.SetAction(parsed =>
        {
            var started = Stopwatch.GetTimestamp();
            var path = parsed.GetValue(output)!;
            OutputPlace.RequireNewFile(path);
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
            Description = $"Matrix type or mixture of types: {names}.",
            Required = true,
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
