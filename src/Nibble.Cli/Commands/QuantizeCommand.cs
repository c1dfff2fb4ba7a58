using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Nibble.Cli.Rendering;
using Nibble.Formats.Gguf;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble quantize</c>: the matrices of a GGUF file to blocks, as llama.cpp's quantizer does it.</summary>
internal static class QuantizeCommand
{
    public static Command Create(CommandHost host)
    {
        var source = new Argument<string>("FILE") { Description = "A GGUF file of f32, f16 or bf16." };
        var type = CommonOptions.GgufType("--type", "What matrices become: q8_0, q5_1, q5_0, q4_1, q4_0, f16 or bf16.", GgufQuantizer.Types);
        type.Required = true;
        var output = new Option<string>("--output", "-o") { Description = "The file to write; it must not exist yet.", Required = true };
        var pure = new Option<bool>("--pure") { Description = "Give the head the same type too, instead of the q6_K that llama.cpp gives it in files of fewer bits than 8." };
        var threads = CommonOptions.AtLeast("--threads", 1, "Threads; all cores when not given.");
        var json = CommonOptions.Json();
        var command = new Command("quantize", "Quantize a GGUF file to another type, tensor by tensor as llama.cpp's quantizer does it.") { source, type, output, pure, threads, json };
        command.SetAction(parsed =>
        {
            var started = Stopwatch.GetTimestamp();
            var path = parsed.GetValue(output)!;
            QuantizeOutput.RequireAbsent(path);
            var result = GgufQuantizer.Run(
                parsed.GetValue(source)!, path, parsed.GetValue(type)!.Value, parsed.GetValue(pure), parsed.GetValue(threads) ?? Environment.ProcessorCount, progress: null, host.Cancellation);
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
                new GgufDocument(GgufDocument.CurrentSchema, path, result.Bytes, result.SourceBytes, result.Types.ToDictionary(entry => entry.Type.ToString(), entry => entry.Tensors), result.Ragged, seconds, process.PeakWorkingSet64),
                CliJson.Default.GgufDocument);
            return;
        }

        var types = string.Join(", ", result.Types.Select(entry => string.Create(CultureInfo.InvariantCulture, $"{entry.Tensors} {entry.Type}")));
        host.Output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{path}: {result.Bytes:N0} bytes ({(double)result.SourceBytes / result.Bytes:F2} times smaller than {result.SourceBytes:N0}), tensors: {types}, {seconds:F2} s"));
        if (result.Ragged.Count > 0)
        {
            host.Output.WriteLine($"note: {result.Ragged.Count} stay F16, since their rows are not whole blocks: {string.Join(", ", result.Ragged.Take(3))}{(result.Ragged.Count > 3 ? " ..." : string.Empty)}");
        }
    }
}
