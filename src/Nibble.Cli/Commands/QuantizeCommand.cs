using Nibble.Cli.Report.Documents;
using Nibble.Files;
using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Nibble.Cli.Report;
using Nibble.Formats.Gguf;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble quantize</c>: the matrices of a GGUF file to blocks, as llama.cpp's quantizer does it.</summary>
internal static class QuantizeCommand
{
    public static Command Create(CommandHost host)
    {
        var source = new Argument<string>("FILE") { Description = "A GGUF file of f32, f16 or bf16." };
        var type = Mixture();
        var output = new Option<string>("--output", "-o") { Description = "The file to write; it must not exist yet.", Required = true };
        var pure = new Option<bool>("--pure") { Description = "Give all matrices the same type, also the head and others that llama.cpp gives more bits." };
        var threads = NumberOptions.AtLeast(CommonOptions.ThreadsName, 1, "Threads; all cores when not given.");
        var importance = new Option<string>("--imatrix")
        { Description = "An importance matrix, from nibble imatrix or llama.cpp: how much errors count in each column." };
        var json = CommonOptions.Json();
        var command = new Command(
            "quantize", "Quantize a GGUF file to another type, tensor by tensor as llama.cpp's quantizer does it.") { source, type, output, importance, pure,
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

    /// <summary>What became of tensors that are not simply of the type that was asked for, and what was asked for in vain.</summary>
    private static IEnumerable<string> Notes(GgufQuantization result) =>
    [
        .. result.Fallbacks.Select(fallback => string.Create(
            CultureInfo.InvariantCulture,
            $"{fallback.Tensors} {(fallback.Type == GgufType.F16 ? "stay" : "became")} {fallback.Type} instead of {fallback.Wanted}, since blocks of "
                + $"{fallback.Wanted.BlockSize()} do not divide their rows: {fallback.Example} has {fallback.Columns} columns")),
        .. Note(result.Copied, "are copied as they are, since they are no matrices of weights"),
        .. Note(result.Unchanged, "have the type already and keep their codes"),
        .. Note(result.Unweighted, "are not in the importance matrix, so that all their columns count the same"),
        .. Note(result.ImportanceIgnored, "make no use of the importance matrix, which has no effect on their types"),
        .. result.Bytes > result.SourceBytes ? (string[])["the file is not smaller than the one that it was made from"] : [],
    ];

    private static IEnumerable<string> Note(IReadOnlyList<string> names, string what) =>
        names.Count == 0 ? [] : [$"{names.Count} {what}: {string.Join(", ", names.Take(3))}{(names.Count > 3 ? " ..." : string.Empty)}"];

    private static Option<GgufMixture> Mixture()
    {
        var names = string.Join(", ", GgufMixture.All.Select(mixture => mixture.Name));
        return new("--type")
        {
            Description = $"What matrices become: {names}.",
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
