using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Nibble.Cli.Engines;
using Nibble.Cli.Rendering;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble export</c>: a model in a format that an engine runs.</summary>
internal static class ExportCommand
{
    // What protobuf can hold, less room for the graph.
    private const int MostInlineMegabytes = 2000;

    public static Command Create(CommandHost host)
    {
        var model = CommonOptions.ModelOrArtifact();
        var format = new Option<string>("--to") { Description = "The format: onnx, which ONNX Runtime runs.", Required = true };
        format.AcceptOnlyFromAmong(OnnxExport.Format);
        var output = new Option<string>("--output", "-o") { Description = "The file to write; it must not exist yet.", Required = true };
        var inline = new Option<int>("--inline-megabytes")
        {
            Description = "ONNX: tensors of more megabytes in total go to a second file, OUTPUT.data, which belongs beside the first.",
            DefaultValueFactory = _ => MostInlineMegabytes,
        }.Within(value => value is >= 0 and <= MostInlineMegabytes, "0 to 2000");
        var json = CommonOptions.Json();
        var command = new Command("export", "Write a model in a format that an engine runs, with the codes that were chosen, never rounded again.") { model, format, output, inline, json };
        command.SetAction(parsed =>
        {
            var started = Stopwatch.GetTimestamp();
            var path = parsed.GetValue(output)!;
            QuantizeOutput.RequireAbsent(path);
            QuantizeOutput.RequireAbsent(path + ".data");
            var (name, written) = OnnxExport.Run(parsed.GetValue(model)!, path, parsed.GetValue(inline) * 1_000_000L);
            string[] notes = written.DataPath is { } data ? [$"the tensors are in {data}, which belongs beside the file"] : [];
            var document = new ExportDocument(ExportDocument.CurrentSchema, name, OnnxExport.Format, path, written.Bytes, written.Forms, notes, Stopwatch.GetElapsedTime(started).TotalSeconds);
            Report(host, parsed.GetValue(json), document);
            return ExitCode.Done;
        });
        return command;
    }

    private static void Report(CommandHost host, bool json, ExportDocument document)
    {
        if (json)
        {
            host.WriteJson(document, CliJson.Default.ExportDocument);
            return;
        }

        var types = string.Join(", ", document.Types.Select(entry => string.Create(CultureInfo.InvariantCulture, $"{entry.Value} {entry.Key}")));
        host.Output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{document.Output}: {document.Bytes:N0} bytes, layers: {types}, {document.Seconds:F1} s"));
        foreach (var note in document.Notes)
        {
            host.Output.WriteLine($"note: {note}");
        }
    }
}
