using Nibble.Cli.Bench;
using Nibble.Cli.Report.Documents;
using System.CommandLine;
using System.Text.Json.Serialization.Metadata;
using Nibble.Cli.Comparison;
using Nibble.Cli.Engines;
using Nibble.Cli.Rendering;
using Nibble.Cli.Report;
using Nibble.Onnx;
using Nibble.Onnx.Engine;
using Nibble.Onnx.Quantization.Proof;
using Spectre.Console;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble bench</c>: measures the speed of an exported file in its engine, on its own or compared with float.</summary>
internal static class BenchCommand
{
    private const int DefaultPrompt = 256;
    private const int DefaultTokens = 64;
    private const int DefaultLength = 128;
    private const int DefaultBatch = 32;
    private const int DefaultRepeats = 5;

    /// <summary>The wall-clock time for a number of threads, where two ONNX files of any model take turns.</summary>
    private static readonly TimeSpan GraphTime = TimeSpan.FromSeconds(3);

    public static Command Create(CommandHost host)
    {
        var file = new Argument<string>("FILE")
        { Description = "An exported file: a GGUF file, run by llama.cpp, or an ONNX file or its folder, run by ONNX Runtime." };
        var against = new Option<string?>("--against") { Description = "Exported file of the float model, to compare FILE with." };
        var data = CommonOptions.Data(
            "For any ONNX model with --against: what its inputs are in use, as in nibble quantize. The first sample is computed. Default: random data.",
            required: false);
        var samples = new OnnxDataOptions(data, "ONNX with --against only.");
        var prompt = NumberOptions.AtLeast("--prompt-tokens", 1, $"Prompt tokens, processed in one batch. Decoders only. Default: {DefaultPrompt}.");
        var tokens = NumberOptions.AtLeast("--tokens", 1, $"Tokens generated after the prompt, one at a time. Decoders only. Default: {DefaultTokens}.");
        var length = NumberOptions.AtLeast("--length", 3, $"Tokens per text. Encoders only. Default: {DefaultLength}, or the model's limit if smaller.");
        var batch = NumberOptions.AtLeast(
            "--batch", 2, $"Texts per batch, measured in addition to one text at a time. Encoders only. Default: {DefaultBatch}.");
        var repeats = NumberOptions.AtLeast(
            "--repeats", 1, $"Measurements per file, each in a separate process after a warm-up. Default: {DefaultRepeats}.");
        var libraries = EngineOptions.LibrariesFolder();
        var threads = NumberOptions.AtLeast(
            CommonOptions.ThreadsName, 1, "Threads of the engine. Default: all cores; for llama.cpp, the cores that other work leaves free; for any ONNX "
                + "model, one and all.");
        var report = new Option<string?>("--report") { Description = "HTML file for the figures." };
        var json = CommonOptions.Json();
        var command = new Command(
            "bench",
            "Measure the speed of an exported file in its engine: load time, memory, and tokens per second (decoders) or texts per second (encoders). "
                + "Optionally compare it with the float model. For any other ONNX model, compare the time of a run with that of the float file.")
        {
            file, against, prompt, tokens, length, batch, repeats, libraries, threads, report, json,
        };
        foreach (var option in samples.All)
        {
            command.Add(option);
        }

        command.SetAction(parsed =>
        {
            OutputPlace.RequireReport(parsed.GetValue(report));
            var measured = ExportedFile.Require(parsed.GetValue(file)!);
            var compared = parsed.GetValue(against) is { } other ? ExportedFile.Require(other) : null;
            if (measured.Engine != OnnxRuntimeEngine.EngineName)
            {
                CommonOptions.RefuseWithoutEffect(parsed, $"it is for ONNX files, and {measured.Path} is a GGUF file", [.. samples.All]);
            }
            else if (samples.All.Any(option => CommonOptions.IsGiven(parsed, option)) || !IsText(measured))
            {
                CommonOptions.RefuseWithoutEffect(
                    parsed, "it is for decoders and encoders of text that are measured without data", prompt, tokens, length, batch, repeats, libraries);
                var single = compared ?? throw new UsageException(
                    $"{measured.Path} is measured beside the float file that it was made from; name it with {against.Name}");
                var graph = MeasureGraph(host, parsed, measured, single, samples, parsed.GetValue(threads));
                return Deliver(graph, BenchTable.Of(graph), CliJson.Default.BenchOnnxDocument);
            }

            var encoder = ExportedEncoder.Find(measured);
            var beside = compared is null ? null : ExportedEncoder.Find(compared);
            if (compared is not null && encoder is null != beside is null)
            {
                throw new NibbleException(
                    $"{compared.Path} holds {Kind(beside)}, but {measured.Path} holds {Kind(encoder)}; {against.Name} expects a file of the same kind");
            }

            var times = parsed.GetValue(repeats) ?? DefaultRepeats;
            if (encoder is not null)
            {
                CommonOptions.RefuseWithoutEffect(parsed, $"it is for decoders, and {measured.Path} holds an encoder", prompt, tokens);
                CommonOptions.RefuseWithoutEffect(parsed, "it is for llama.cpp, and no GGUF file is measured", libraries);
                var shorter = beside?.MaxSequence < encoder.MaxSequence ? beside : encoder;
                var options = new EncoderBenchOptions(
                    CommonOptions.SequenceLength(length.Name, parsed.GetValue(length), DefaultLength, shorter.MaxSequence ?? int.MaxValue, shorter.File.Path),
                    parsed.GetValue(batch) ?? DefaultBatch,
                    times,
                    EngineThreads.For(parsed.GetValue(threads), measured.Engine, host.Warn));
                var texts = host.WithProgress(progress => EngineBench.Run(measured, compared, options, progress, host.Cancellation));
                return Deliver(texts, BenchTable.Of(texts), CliJson.Default.BenchEncoderDocument);
            }

            CommonOptions.RefuseWithoutEffect(parsed, $"it is for encoders, and {measured.Path} holds a decoder", length, batch);
            var folder = measured.Engine == LlamaCppEngine.EngineName || compared?.Engine == LlamaCppEngine.EngineName
                ? LlamaCppLibraries.Find(parsed.GetValue(libraries)) : string.Empty;
            if (folder.Length == 0)
            {
                CommonOptions.RefuseWithoutEffect(parsed, "it is for llama.cpp, and no GGUF file is measured", libraries);
            }

            var pickiest = compared?.Engine == LlamaCppEngine.EngineName ? compared.Engine : measured.Engine;
            var asked = new BenchOptions(
                parsed.GetValue(prompt) ?? DefaultPrompt,
                parsed.GetValue(tokens) ?? DefaultTokens,
                times,
                EngineThreads.For(parsed.GetValue(threads), pickiest, host.Warn),
                folder);
            var document = host.WithProgress(progress => EngineBench.Run(measured, compared, asked, progress, host.Cancellation));
            return Deliver(document, BenchTable.Of(document), CliJson.Default.BenchDocument);

            int Deliver<T>(T document, BenchTable table, JsonTypeInfo<T> type)
            {
                CommandHost.Deliver(
                    () => WriteReport(parsed.GetValue(report), table, CommonOptions.CommandLine(parsed.Tokens.Select(token => token.Value))),
                    () => Print(host, parsed.GetValue(json), document, table, type));
                return ExitCode.Done;
            }
        });
        return command;
    }

    /// <summary>Whether a file is a decoder or an encoder of text, or is broken, which the engine reports.</summary>
    private static bool IsText(ExportedFile file)
    {
        try
        {
            var graph = OnnxFile.Open(file.Path);
            return OnnxRuntimeDecoder.IsDecoder(graph) || OnnxRuntimeEncoder.IsEncoder(graph);
        }
        catch (NibbleException)
        {
            return true;
        }
    }

    /// <summary>Measures an ONNX file of any model beside its float file.</summary>
    private static BenchOnnxDocument MeasureGraph(
        CommandHost host, ParseResult parsed, ExportedFile file, ExportedFile against, OnnxDataOptions samples, int? threads)
    {
        if (against.Engine != OnnxRuntimeEngine.EngineName)
        {
            throw new NibbleException($"{against.Path} is a GGUF file, expected the float ONNX file that {file.Path} was made from");
        }

        var data = samples.Open(host, parsed, against.Path);
        var sample = data.Samples().FirstOrDefault() ?? throw new NibbleException($"{data.Description}: there is no sample to compute");
        int[] counts = threads is null ? [.. ((int[])[1, ThreadLimit.Most]).Distinct()] : [ThreadLimit.Cap(threads)];
        var timings = host.WithProgress(progress => FileTiming.Run(
            file.Path, against.Path, sample, samples.Run(parsed), counts, GraphTime, progress, host.Cancellation));
        return new BenchOnnxDocument(
            BenchOnnxDocument.CurrentSchema, data.Description, Graph(file), Graph(against),
            [.. timings.Select(entry => new BenchedThreads(
                entry.Threads, entry.Timing.Quantized, entry.Timing.Float, entry.Timing.Ratio, entry.Timing.Runs))]);

        static BenchedGraph Graph(ExportedFile file) => new(file.Name, file.Path, file.Engine, file.Bytes);
    }

    private static string Kind(ExportedEncoder? encoder) => encoder is null ? "a decoder" : "an encoder";

    private static void WriteReport(string? path, BenchTable table, string commandLine)
    {
        if (path is not null)
        {
            HtmlPage.Write(path, BenchReport.Render(table, Environs.Machine(), commandLine));
        }
    }

    private static void Print<T>(CommandHost host, bool json, T document, BenchTable table, JsonTypeInfo<T> type)
    {
        if (json)
        {
            host.WriteJson(document, type);
        }
        else
        {
            Write(host, table);
        }
    }

    private static void Write(CommandHost host, BenchTable bench)
    {
        host.Output.WriteLine(bench.Setting);
        var table = new Table { Border = TableBorder.Simple, ShowRowSeparators = false };
        table.AddColumns([.. bench.Headings.Select(heading => new TableColumn(Markup.Escape(heading)))]);
        foreach (var row in bench.Rows)
        {
            table.AddRow([.. row.Select(Markup.Escape)]);
        }

        host.Console.WriteTable(table);
    }
}
