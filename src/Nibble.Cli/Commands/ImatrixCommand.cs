using Nibble.Cli.Report.Documents;
using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Models;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble imatrix</c>: writes an importance matrix for <c>nibble quantize</c> and llama.cpp.</summary>
internal static class ImatrixCommand
{
    public static Command Create(CommandHost host)
    {
        var model = CommonOptions.Model();
        var data = CommonOptions.Data("Calibration data: UTF-8 text, with a line <|endoftext|> between documents.", required: true);
        var output = new Option<string>("--output", "-o") { Description = "Output file. It must not exist yet.", Required = true };
        var context = CommonOptions.Context();
        var windows = NumberOptions.AtLeast("--windows", 1, "Number of windows to use, from the start. Default: all.");
        var threads = CommonOptions.Threads();
        var json = CommonOptions.Json();
        var command = new Command(
            "imatrix", "Write an importance matrix in llama.cpp's format: the summed squares of each linear layer's inputs over a text.") { model, data,
            output, context, windows, threads, json };
        command.SetAction(parsed =>
        {
            var (started, path) = (Stopwatch.GetTimestamp(), parsed.GetValue(output)!);
            OutputPlace.RequireNewFile(path);
            CommandHost.StartTorch(parsed.GetValue(threads));
            using var loaded = LoadedModel.Open(parsed.GetValue(model)!);
            loaded.RequireFloat();
            var text = TokenizedText.Read(host.DataFiles(parsed.GetValue(data)!), loaded.Tokenizer);
            var length = EvalCommand.WindowLength(parsed.GetValue(context), loaded);
            var matrix = host.WithProgress(
                progress => ImportanceCalibration.Run(loaded.Decoder, text, length, parsed.GetValue(windows), progress, host.Cancellation));
            matrix.Write(path);
            var seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
            if (parsed.GetValue(json))
            {
                host.WriteJson(
                    new ImatrixDocument(ImatrixDocument.CurrentSchema, loaded.Name, text.Name, path, matrix.Entries.Count, matrix.Chunks, matrix.ChunkSize,
                        seconds),
                    CliJson.Default.ImatrixDocument);
                return ExitCode.Done;
            }

            host.Output.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{path}: inputs of {matrix.Entries.Count} matrices over {matrix.Chunks} windows of {matrix.ChunkSize} tokens of {text.Name}, {seconds:F1} s"));
            return ExitCode.Done;
        });
        return command;
    }
}
