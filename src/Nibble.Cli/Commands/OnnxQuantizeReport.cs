using System.Globalization;
using Nibble.Cli.Rendering;
using Nibble.Cli.Report;
using Nibble.Cli.Report.Documents;
using Nibble.Onnx.Quantization;
using Nibble.Onnx.Quantization.Proof;
using Spectre.Console;

namespace Nibble.Cli.Commands;

/// <summary>The output of <c>nibble quantize</c> for ONNX files.</summary>
internal static class OnnxQuantizeReport
{
    /// <summary>How many times faster a file must be to be called faster: single runs differ as much.</summary>
    private const double NoticeablyFaster = 1.05;

    private const int ShownLayers = 3;

    /// <summary>Reports what was written.</summary>
    public static void Write(CommandHost host, bool json, OnnxQuantizeDocument document)
    {
        if (json)
        {
            host.WriteJson(document, CliJson.Default.OnnxQuantizeDocument);
            return;
        }

        host.Output.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{document.Output}: {document.Bytes:N0} bytes ({Numbers.Smaller(document.Bytes, document.SourceBytes)}), {OnnxQuantizeText.Name(document.Mode)}, "
            + $"{document.Nodes.Count(node => node.Kept is null)} of {document.Nodes.Count} nodes in integers, {document.Seconds:F1} s, at most "
            + $"{document.PeakBytes >> 20:N0} MiB of memory"));
        host.Output.WriteLine(OnnxQuantizeText.Samples(document));
        foreach (var trial in document.Trials)
        {
            host.Output.WriteLine(
                $"tried       {OnnxQuantizeText.Name(trial.Mode)}: error {Numbers.RelativeError(trial.Loss)}, {OnnxQuantizeText.Speed(trial.Ratio)}, "
                + $"{Numbers.Bytes(trial.Bytes)}{(trial.Mode == document.Mode ? "; chosen" : string.Empty)}");
        }

        host.Console.WriteTable(Outputs(document.Outputs));
        if (document.Layers.Count > 0)
        {
            var worst = document.Layers.OrderBy(layer => layer.Decibels ?? double.PositiveInfinity).Take(ShownLayers);
            host.Output.WriteLine($"worst       {string.Join(", ", worst.Select(layer => $"{layer.Name} {OnnxQuantizeText.Decibels(layer)}"))}");
        }

        foreach (var done in document.Transformations)
        {
            host.Output.WriteLine($"{done.Name,-12}{OnnxQuantizeText.Groups(done)}");
            foreach (var reason in done.Skipped.GroupBy(layer => layer.Reason))
            {
                host.Output.WriteLine($"no {done.Name,-9}{Nodes(reason.Select(layer => (layer.Node, layer.Operator)))}: {reason.Key}");
            }
        }

        WriteKept(host, document.Nodes);
        if (document.Nodes.Sum(node => node.GuardedChannels) is > 0 and var guarded)
        {
            host.Output.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"guarded     {guarded} output channels are rounded more coarsely, so that no processor's sums of products saturate"));
        }

        if (document.Nodes.Sum(node => node.BiasChannels) is > 0 and var raised)
        {
            host.Output.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"biases      {raised} output channels are rounded more coarsely, because their biases are very large beside their weights"));
        }

        if (document.Bytes >= document.SourceBytes)
        {
            host.Output.WriteLine("note: the file is not smaller than its source");
        }

        if (document.Timing is { } timing)
        {
            host.Output.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"speed       {OnnxQuantizeText.Speed(timing.Ratio)}: {Milliseconds(timing.Quantized)} instead of {Milliseconds(timing.Float)} (one thread, "
                + $"{timing.Runs} paired runs)"));
        }

        if (document.Trials.Count > 0 && document.Trials.All(trial => trial.Ratio < NoticeablyFaster))
        {
            host.Output.WriteLine("note: no mode is noticeably faster than the float model on this processor; "
                + (document.Trials.First(trial => trial.Mode == document.Mode).IsIdle
                    ? "those that quantize something are slower or lose too much, and the file holds the float model" : "what the file saves is size"));
        }
    }

    /// <summary>Reports what would be done.</summary>
    public static void Write(CommandHost host, bool json, OnnxEstimateDocument document)
    {
        if (json)
        {
            host.WriteJson(document, CliJson.Default.OnnxEstimateDocument);
            return;
        }

        var culture = CultureInfo.InvariantCulture;
        foreach (var mode in document.Modes)
        {
            host.Output.WriteLine(string.Create(
                culture,
                $"dry run of {OnnxQuantizeText.Name(mode.Mode)}: {mode.Nodes.Count(node => node.Kept is null)} of {mode.Nodes.Count} nodes in integers, "
                + $"a file of {mode.Bytes:N0} bytes ({Numbers.Smaller(mode.Bytes, document.SourceBytes)})"));
            WriteKept(host, mode.Nodes);
        }

        var times = document.Passes == 1 ? "once" : string.Create(culture, $"{document.Passes} times");
        host.Output.WriteLine($"data        {document.Data}; " + (document.Passes == 0 ? "only to compare"
            : string.Create(culture, $"at most {document.CalibrationSamples:N0} to calibrate on, read {times}")));
        host.Output.WriteLine(string.Create(culture, $"memory      at most {document.PeakBytes >> 20:N0} MiB"));
        foreach (var note in document.Notes)
        {
            host.Output.WriteLine($"note: {note}");
        }
    }

    /// <summary>Says which nodes stay float, and why.</summary>
    private static void WriteKept(CommandHost host, IReadOnlyList<NodeDecision> nodes)
    {
        foreach (var group in nodes.Where(node => node.Kept is not null).GroupBy(node => node.Kept))
        {
            host.Output.WriteLine($"float       {Nodes(group.Select(node => (node.Node, node.Operator)))}: {group.Key}");
        }
    }

    /// <summary>The number of nodes of each operator, each with an example.</summary>
    private static string Nodes(IEnumerable<(string Node, string Operator)> nodes) => string.Join(
        ", ",
        nodes.GroupBy(node => node.Operator).Select(group => string.Create(
            CultureInfo.InvariantCulture, $"{group.Count()} {group.Key} ({group.First().Node}{(group.Count() > 1 ? " ..." : string.Empty)})")));

    private static string Milliseconds(double seconds) =>
        seconds < 1 ? string.Create(CultureInfo.InvariantCulture, $"{seconds * 1e3:G3} ms") : Numbers.Duration(seconds);

    /// <summary>A table of the differences of outputs.</summary>
    public static Table Outputs(IReadOnlyList<OutputDifference> outputs)
    {
        var table = new Table { Border = TableBorder.Simple };
        table.AddColumn("output");
        foreach (var heading in (string[])["signal to noise", "largest difference", "same largest"])
        {
            table.AddColumn(new TableColumn(heading) { Alignment = Justify.Right });
        }

        foreach (var output in outputs)
        {
            table.AddRow(
                Markup.Escape(TerminalText.Printable(output.Name)),
                OnnxQuantizeText.Decibels(output),
                output.Largest is { } largest ? Numbers.Plain(largest) : Numbers.Missing,
                output.Agreement is { } share ? Numbers.Share(share) : Numbers.Missing);
        }

        return table;
    }
}
