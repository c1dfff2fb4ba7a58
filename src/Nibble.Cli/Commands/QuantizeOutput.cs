using Nibble.Cli.Report.Documents;
using System.Diagnostics;
using System.Globalization;
using Nibble.Cli.Report;
using Nibble.Torch.Ptq;

namespace Nibble.Cli.Commands;

/// <summary>The output of <c>ptq</c> and <c>qat</c>.</summary>
internal static class QuantizeOutput
{
    /// <summary>Reports what was written.</summary>
    public static void Report(CommandHost host, bool json, QuantizationResult result, string recipe, string method, string folder, long started, double? loss)
    {
        var seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
        using var process = Process.GetCurrentProcess();
        var peak = process.PeakWorkingSet64;
        if (json)
        {
            host.WriteJson(
                new QuantizeDocument(QuantizeDocument.CurrentSchema, result.Model, recipe, method, folder, result.Layers, result.Bytes, result.SourceBytes,
                    seconds, peak, result.Calibration, loss)
                {
                    Quantized = result.Summary.Quantized,
                    Kept = result.Summary.Kept,
                    Warnings = result.Summary.Warnings,
                },
                CliJson.Default.QuantizeDocument);
            return;
        }

        host.Output.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{folder}: {result.Layers} layers by {method} {recipe}, {result.Bytes:N0} bytes ({Numbers.Smaller(result.Bytes, result.SourceBytes)}), "
                + $"{seconds:F1} s, at most {peak >> 20:N0} MiB of memory"));
        if (result.Calibration is { } calibration)
        {
            host.Output.WriteLine($"calibrated on {calibration}");
        }

        foreach (var line in result.Summary.Lines())
        {
            host.Output.WriteLine(line);
        }
    }

    /// <summary>Reports what a run would take.</summary>
    public static void Report(CommandHost host, bool json, string model, string recipe, RunEstimate estimate)
    {
        if (json)
        {
            host.WriteJson(
                new EstimateDocument(
                    EstimateDocument.CurrentSchema, model, recipe, estimate.Layers, estimate.Seconds, estimate.PeakBytes, estimate.Bytes, estimate.DiskBytes)
                {
                    Kept = estimate.Summary.Kept,
                    Warnings = estimate.Summary.Warnings,
                },
                CliJson.Default.EstimateDocument);
            return;
        }

        host.Output.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"dry run of {recipe}: {estimate.Layers} layers, about {estimate.Seconds:F1} s, at most {estimate.PeakBytes >> 20:N0} MiB of memory, "
                + $"{estimate.DiskBytes:N0} bytes of temporary disk space, an artifact of {estimate.Bytes:N0} bytes"));
        foreach (var line in estimate.Summary.Lines())
        {
            host.Output.WriteLine(line);
        }
    }
}
