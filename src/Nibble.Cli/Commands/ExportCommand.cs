using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Nibble.Cli.Rendering;
using Nibble.Torch.Export;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble export</c>: a model in a format that an engine runs.</summary>
internal static class ExportCommand
{
    private const string Gguf = "gguf";

    public static Command Create(CommandHost host)
    {
        var model = CommonOptions.ModelOrArtifact();
        var format = new Option<string>("--to") { Description = "The format: gguf, which llama.cpp runs.", Required = true };
        format.AcceptOnlyFromAmong(Gguf);
        var output = new Option<string>("--output", "-o") { Description = "The file to write; it must not exist yet.", Required = true };
        var type = CommonOptions.GgufType(
            "--type",
            "How matrices are stored: f32, f16 or bf16 for all; q8_0, q5_1, q5_0, q4_1, q4_0, tq2_0 or tq1_0 for those that have codes, which it must hold. When not given, the smallest type that holds a matrix's codes, and float matrices as they are.",
            GgufExporter.Types);
        var json = CommonOptions.Json();
        var command = new Command("export", "Write a model in a format that an engine runs, with the codes that were chosen, never rounded again.") { model, format, output, type, json };
        command.SetAction(parsed =>
        {
            var started = Stopwatch.GetTimestamp();
            var path = parsed.GetValue(output)!;
            QuantizeOutput.RequireAbsent(path);
            var result = host.WithProgress(progress => GgufExporter.Run(parsed.GetValue(model)!, path, parsed.GetValue(type), progress, host.Cancellation));
            Report(host, parsed.GetValue(json), result, path, Stopwatch.GetElapsedTime(started).TotalSeconds);
            return ExitCode.Done;
        });
        return command;
    }

    private static void Report(CommandHost host, bool json, ExportResult result, string path, double seconds)
    {
        if (json)
        {
            host.WriteJson(
                new ExportDocument(ExportDocument.CurrentSchema, result.Model, Gguf, path, result.Bytes, result.Types.ToDictionary(entry => entry.Type, entry => entry.Tensors), result.Notes, seconds),
                CliJson.Default.ExportDocument);
            return;
        }

        var types = string.Join(", ", result.Types.Select(entry => string.Create(CultureInfo.InvariantCulture, $"{entry.Tensors} {entry.Type}")));
        host.Output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{path}: {result.Bytes:N0} bytes, tensors: {types}, {seconds:F1} s"));
        foreach (var note in result.Notes)
        {
            host.Output.WriteLine($"note: {note}");
        }
    }
}
