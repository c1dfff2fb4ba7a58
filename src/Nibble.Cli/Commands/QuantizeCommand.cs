using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Nibble.Cli.Rendering;
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
        var threads = CommonOptions.AtLeast("--threads", 1, "Threads; all cores when not given.");
        var importance = new Option<string>("--imatrix") { Description = "An importance matrix, from nibble imatrix or llama.cpp: how much errors count in each column." };
        var json = CommonOptions.Json();
        var command = new Command("quantize", "Quantize a GGUF file to another type, tensor by tensor as llama.cpp's quantizer does it.") { source, type, output, importance, pure, threads, json };
        command.SetAction(parsed =>
        {
            var started = Stopwatch.GetTimestamp();
            var path = parsed.GetValue(output)!;
            QuantizeOutput.RequireAbsent(path);
            var result = GgufQuantizer.Run(
                parsed.GetValue(source)!,
                path,
                parsed.GetValue(type)!,
                parsed.GetValue(pure),
                parsed.GetValue(threads) ?? Environment.ProcessorCount,
                parsed.GetValue(importance) is { } matrix ? ImportanceMatrix.Read(matrix) : null,
                progress: null,
                host.Cancellation);
            Report(host, parsed.GetValue(json), path, result, Stopwatch.GetElapsedTime(started).TotalSeconds);
            return ExitCode.Done;
        });
        return command;
    }

    private static void Report(CommandHost host, bool json, string path, GgufQuantization result, double seconds)
    {
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
                    ImportanceIgnored = result.ImportanceIgnored,
                },
                CliJson.Default.GgufDocument);
            return;
        }

        var types = string.Join(", ", result.Types.Select(entry => string.Create(CultureInfo.InvariantCulture, $"{entry.Tensors} {entry.Type}")));
        host.Output.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{path}: {result.Bytes:N0} bytes ({Numbers.Smaller(result.Bytes, result.SourceBytes)}), tensors: {types}, {seconds:F2} s"));
        foreach (var (wanted, type, tensors, example, columns) in result.Fallbacks)
        {
            host.Output.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"note: {tensors} {(type == GgufType.F16 ? "stay" : "became")} {type} instead of {wanted}, since blocks of {wanted.BlockSize()} do not "
                    + $"divide their rows: {example} has {columns} columns"));
        }

        Note(host, result.Copied, "are copied as they are, since they are no matrices of weights");
        Note(host, result.Unweighted, "are not in the importance matrix, so that all their columns count the same");
        Note(host, result.ImportanceIgnored, "make no use of the importance matrix, which has no effect on their types");
    }

    private static void Note(CommandHost host, IReadOnlyList<string> names, string what)
    {
        if (names.Count > 0)
        {
            host.Output.WriteLine($"note: {names.Count} {what}: {string.Join(", ", names.Take(3))}{(names.Count > 3 ? " ..." : string.Empty)}");
        }
    }

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
