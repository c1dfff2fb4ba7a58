using System.Diagnostics;
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
    private const int ShownLayers = 3;

    /// <summary>Reports what was written.</summary>
    public static void Write(CommandHost host, bool json, OnnxQuantizationResult result, OnnxQuantizationOptions options, double seconds)
    {
        using var process = Process.GetCurrentProcess();
        var peak = process.PeakWorkingSet64;
        if (json)
        {
            host.WriteJson(
                new OnnxQuantizeDocument(
                    OnnxQuantizeDocument.CurrentSchema, result.Path, result.Mode, result.Bytes, result.SourceBytes, options.DataName, result.CalibrationSamples,
                    result.ComparedSamples, result.IsHeldOut, result.Outputs, result.Layers, result.Timing, result.Nodes, seconds, peak),
                CliJson.Default.OnnxQuantizeDocument);
            return;
        }

        var integer = result.Nodes.Count(node => node.Kept is null);
        host.Output.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{result.Path}: {result.Bytes:N0} bytes ({Numbers.Smaller(result.Bytes, result.SourceBytes)}), {Name(result.Mode)}, {integer} of {result.Nodes.Count} "
            + $"nodes in integers, {seconds:F1} s, at most {peak >> 20:N0} MiB of memory"));
        host.Output.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"calibrated on {result.CalibrationSamples} samples of {options.DataName}, compared on {result.ComparedSamples} "
            + $"{(result.IsHeldOut ? "others" : "of the same")}"));
        host.Console.WriteTable(Outputs(result.Outputs));
        if (result.Layers.Count > 0)
        {
            var worst = result.Layers.OrderBy(layer => layer.Decibels ?? double.PositiveInfinity).Take(ShownLayers);
            host.Output.WriteLine($"worst inside: {string.Join(", ", worst.Select(layer => $"{layer.Name} {Decibels(layer)}"))}");
        }

        foreach (var group in result.Nodes.Where(node => node.Kept is not null).GroupBy(node => node.Kept))
        {
            var operators = group.GroupBy(node => node.Operator)
                .Select(nodes => string.Create(CultureInfo.InvariantCulture, $"{nodes.Count()} {nodes.Key} ({nodes.First().Node}{(nodes.Count() > 1 ? " ..." : string.Empty)})"));
            host.Output.WriteLine($"float       {string.Join(", ", operators)}: {group.Key}");
        }

        if (result.Nodes.Sum(node => node.GuardedChannels) is > 0 and var guarded)
        {
            host.Output.WriteLine($"guarded     {guarded} output channels are rounded more coarsely, so that no processor's sums of products saturate");
        }

        if (result.Timing is { } timing)
        {
            host.Output.WriteLine(Speed(timing));
        }
    }

    private static string Name(OnnxMode mode) => mode switch
    {
        OnnxMode.Static => "static INT8",
        OnnxMode.Dynamic => "dynamic INT8",
        _ => "quantized weights",
    };

    private static string Speed(PairedTiming timing) => string.Create(
        CultureInfo.InvariantCulture,
        $"speed       {Milliseconds(timing.Float)} float, {Milliseconds(timing.Quantized)} quantized: "
        + $"{(timing.Ratio >= 1 ? $"{timing.Ratio:F2} times faster" : $"{1 / timing.Ratio:F2} times slower than float")} (one thread, {timing.Runs} paired runs)");

    private static string Milliseconds(double seconds) => string.Create(CultureInfo.InvariantCulture, $"{seconds * 1e3:G3} ms");

    private static Table Outputs(IReadOnlyList<OutputDifference> outputs)
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
                Markup.Escape(TerminalText.Printable(output.Name)), Decibels(output), output.Largest is { } largest ? Numbers.Plain(largest) : Numbers.Missing,
                output.Agreement is { } share ? Numbers.Share(share) : Numbers.Missing);
        }

        return table;
    }

    private static string Decibels(OutputDifference difference) => difference.Decibels is not { } value ? Numbers.Missing
        : double.IsInfinity(value) ? "equal" : string.Create(CultureInfo.InvariantCulture, $"{value:F1} dB");
}
