using Nibble.Cli.Report.Documents;
using Nibble.Export;
using Nibble.Formats.CompressedTensors;
using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Nibble.Cli.Engines;
using Nibble.Models;
using Nibble.Onnx;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble export</c>: writes a model in the format of an engine.</summary>
internal static class ExportCommand
{
    private const string Gguf = "gguf";

    private const int Megabyte = 1_000_000;
    private const int MostInlineMegabytes = (int)(OnnxExport.MostInlineBytes / Megabyte);

    private static readonly Dictionary<string, CheckpointFormat> Checkpoints =
        new() { ["gptq"] = CheckpointFormat.Gptq, ["gptq-v2"] = CheckpointFormat.GptqV2, ["awq"] = CheckpointFormat.Awq };

    public static Command Create(CommandHost host)
    {
        var model = CommonOptions.ModelOrArtifact();
        var format = new Option<string>("--to")
        {
            Description = "Output format: gguf, a file for llama.cpp; onnx, a file for ONNX Runtime; gptq, gptq-v2 or awq, a folder for "
            + "vLLM and transformers.",
            Required = true
        };
        format.AcceptOnlyFromAmong([Gguf, OnnxExport.Format, .. Checkpoints.Keys]);
        var output = new Option<string>("--output", "-o") { Description = "Output file or folder. It must not exist yet.", Required = true };
        var type = CommonOptions.GgufType(
            "--type",
            "Matrix type, gguf only: f32, f16 or bf16 for all matrices; q8_0, q5_1, q5_0, q4_1, q4_0, tq2_0 or tq1_0 for quantized ones, whose codes it must "
                + "hold. Default: the smallest type that holds a matrix's codes; float matrices keep their type.",
            GgufExporter.Types);
        var embeddings = CommonOptions.GgufType(
            "--embeddings",
            "Type of the embedding and the head if they have no codes, gguf only: q8_0, q6_k and so on. Default: as for --type.",
            GgufExporter.EmbeddingTypes);
        var inline = NumberOptions.Whole(
            "--inline-megabytes", 0, MostInlineMegabytes,
            $"Maximum megabytes of tensors in the file itself, onnx only. Larger models put their tensors in a second file, OUTPUT.data. "
                + $"Default: {MostInlineMegabytes}.");
        var accuracy = new Option<int?>("--accuracy-level")
        {
            Description = "Precision of MatMulNBits, onnx only: 1 computes in float32, as simulated; 4 rounds inputs to 8 bits in blocks, which is faster but "
                + "further from the simulation. Default: 1.",
        };
        accuracy.AcceptOnlyFromAmong("1", "4");
        var task = new TaskOptions();
        var json = CommonOptions.Json();
        var command = new Command(
            "export", "Write a model in the format of an inference engine. Quantized weights keep their exact codes.") { model, format, output, type,
            embeddings, inline, accuracy, task.Task, task.Pooling, task.Normalize, json };
        command.Validators.Add(result =>
        {
            if (result.GetResult(format)?.Tokens is not [{ Value: var to }])
            {
                return;
            }

            foreach (var option in ((Option[])[type, embeddings]).Where(option => to != Gguf && result.GetResult(option) is { Implicit: false }))
            {
                result.AddError($"{option.Name} is for GGUF, but --to is {to}, which writes codes unchanged; remove it.");
            }

            foreach (var option in ((Option[])[inline, accuracy]).Where(option => to != OnnxExport.Format && result.GetResult(option) is { Implicit: false }))
            {
                result.AddError($"{option.Name} is for ONNX, but --to is {to}; remove it.");
            }
        });
        command.SetAction(parsed =>
        {
            var started = Stopwatch.GetTimestamp();
            var path = parsed.GetValue(output)!;
            var to = parsed.GetValue(format)!;
            RequirePlace(to, path);
            var source = parsed.GetValue(model)!;
            var result = host.WithProgress(progress =>
                Checkpoints.TryGetValue(to, out var checkpoint) ? CheckpointExporter.Run(source, path, checkpoint, progress, host.Cancellation)
                : to == OnnxExport.Format
                    ? Onnx(source, path, parsed.GetValue(inline) ?? MostInlineMegabytes,
                        (MatMulAccuracy)(parsed.GetValue(accuracy) ?? (int)MatMulAccuracy.Float32), task.Read(parsed, source), progress, host.Cancellation)
                : GgufExporter.Run(source, path, parsed.GetValue(type), parsed.GetValue(embeddings), progress, host.Cancellation));
            Report(host, parsed.GetValue(json), result, to, path, Stopwatch.GetElapsedTime(started).TotalSeconds);
            return ExitCode.Done;
        });
        return command;
    }

    private static void RequirePlace(string format, string path)
    {
        if (Checkpoints.ContainsKey(format))
        {
            OutputPlace.RequireNewFolder(path);
            return;
        }

        OutputPlace.RequireNewFile(path, makesFolder: format == OnnxExport.Format);
        if (format == OnnxExport.Format)
        {
            OutputPlace.RequireNewFile(OnnxExport.DataPath(path), makesFolder: true);
        }
    }

    private static ExportResult Onnx(
        string model, string path, int inlineMegabytes, MatMulAccuracy accuracy, TaskConfig? task, IProgress<RunProgress> progress,
        CancellationToken cancellation)
    {
        var (name, written) = OnnxExport.Run(model, path, (long)inlineMegabytes * Megabyte, accuracy, task, progress, cancellation);
        var notes = new List<string>();
        if (written.DataPath is { } data)
        {
            notes.Add($"the tensors are in {data}; keep it next to the file");
        }

        if (accuracy == MatMulAccuracy.Int8 && written.Forms.Keys.Any(form => form.StartsWith("MatMulNBits", StringComparison.Ordinal)))
        {
            notes.Add($"MatMulNBits rounds inputs to 8 bits in blocks, which was not simulated; run nibble verify --file {path} to measure the effect");
        }

        return new ExportResult(name, written.Bytes, [.. written.Forms.Select(form => (form.Key, form.Value))], notes)
        {
            Summary = QuantizedModelFile.Summarize(model),
        };
    }

    private static void Report(CommandHost host, bool json, ExportResult result, string format, string path, double seconds)
    {
        if (json)
        {
            host.WriteJson(
                new ExportDocument(ExportDocument.CurrentSchema, result.Model, format, path, result.Bytes,
                    result.Types.ToDictionary(entry => entry.Type, entry => entry.Tensors), result.Notes, seconds)
                {
                    Quantized = result.Summary.Quantized,
                    Kept = result.Summary.Kept,
                },
                CliJson.Default.ExportDocument);
            return;
        }

        var types = string.Join(", ", result.Types.Select(entry => string.Create(CultureInfo.InvariantCulture, $"{entry.Tensors} {entry.Type}")));
        host.Output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{path}: {result.Bytes:N0} bytes, tensors: {types}, {seconds:F1} s"));
        foreach (var line in result.Summary.Lines())
        {
            host.Output.WriteLine(line);
        }

        foreach (var note in result.Notes)
        {
            host.Output.WriteLine($"note: {note}");
        }
    }
}
