using Nibble.Cli.Report.Documents;
using System.CommandLine;
using System.Globalization;
using Nibble.Cli.Engines;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble import</c>: converts a checkpoint or file of another format into an artifact.</summary>
internal static class ImportCommand
{
    public static Command Create(CommandHost host)
    {
        var checkpoint = new Argument<string>("CHECKPOINT_OR_FILE")
        {
            Description = "A folder with a GPTQ, AWQ or compressed-tensors checkpoint, a GGUF file, or an ONNX file from nibble export.",
        };
        var output = new Option<string>("--output", "-o") { Description = "Output folder. It must not exist yet.", Required = true };
        var json = CommonOptions.Json();
        const string Description = "Convert a quantized checkpoint of another tool (GPTQ, AWQ, compressed-tensors), a GGUF file or an exported ONNX file "
            + "into an artifact with the same codes, to evaluate it, compare it or export it again.";
        var command = new Command("import", Description) { checkpoint, output, json };
        command.SetAction(parsed =>
        {
            var folder = parsed.GetValue(output)!;
            OutputPlace.RequireNewFolder(folder);
            var result = host.WithProgress(progress => FileImport.Run(parsed.GetValue(checkpoint)!, folder, progress, host.Cancellation));
            if (parsed.GetValue(json))
            {
                host.WriteJson(
                    new ImportDocument(ImportDocument.CurrentSchema, result.Model, result.Format, folder, result.Layers, result.Bytes, result.Notes)
                    {
                        Quantized = result.Summary.Quantized,
                        Kept = result.Summary.Kept,
                    },
                    CliJson.Default.ImportDocument);
                return ExitCode.Done;
            }

            host.Output.WriteLine(string.Create(
                CultureInfo.InvariantCulture, $"{folder}: {result.Layers} layers from {result.Format}, {result.Bytes:N0} bytes"));
            foreach (var line in result.Summary.Lines())
            {
                host.Output.WriteLine(line);
            }

            foreach (var note in result.Notes)
            {
                host.Output.WriteLine($"note: {note}");
            }

            return ExitCode.Done;
        });
        return command;
    }
}
