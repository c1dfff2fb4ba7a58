using System.Globalization;
using Nibble.Cli.Rendering;
using Nibble.Cli.Report;
using Nibble.Cli.Report.Documents;
using Nibble.Onnx.Data;
using Nibble.Onnx.Quantization;
using Nibble.Onnx.Quantization.Proof;

namespace Nibble.Cli.Commands;

/// <summary>The part of <c>nibble verify</c> that compares a quantized ONNX file with its float file.</summary>
/// <param name="Path">The quantized file.</param>
/// <param name="Against">The float file.</param>
/// <param name="Tolerance">The largest acceptable relative error of an output; null for any.</param>
/// <param name="Threads">Threads of ONNX Runtime.</param>
internal sealed record OnnxVerification(string Path, string Against, double? Tolerance, int Threads)
{
    /// <summary>Compares, and writes the result.</summary>
    /// <param name="host">Shows progress and takes the result.</param>
    /// <param name="data">The samples.</param>
    /// <param name="options">The states, and the sizes of inputs that the model leaves free.</param>
    /// <param name="limit">The most samples; null for all.</param>
    /// <param name="json">Whether the result is a JSON document.</param>
    /// <returns>The exit code.</returns>
    public int Run(CommandHost host, ISampleSource data, OnnxQuantizationOptions options, int? limit, bool json)
    {
        var comparison = host.WithProgress(progress => FileComparison.Run(
            Path, Against, data.Samples().Take(limit ?? int.MaxValue), options, Threads,
            new SampleProgress(progress, Math.Min(data.Count ?? 0, limit ?? long.MaxValue)), host.Cancellation));
        var same = !comparison.Saturates && comparison.IsWithin(Tolerance);
        Report(host, data.Description, comparison, same ? "same" : "differs", json);
        return same ? ExitCode.Done : ExitCode.NoSolution;
    }

    private void Report(CommandHost host, string data, FileComparison comparison, string verdict, bool json)
    {
        if (json)
        {
            host.WriteJson(
                new VerifyOnnxDocument(
                    VerifyOnnxDocument.CurrentSchema, Path, Against, data, verdict, comparison.Samples, Tolerance, comparison.Outputs, comparison.Saturates,
                    comparison.Saturation),
                CliJson.Default.VerifyOnnxDocument);
            return;
        }

        var culture = CultureInfo.InvariantCulture;
        host.Output.WriteLine(string.Create(
            culture, $"compared with {Against} on {comparison.Samples} {(comparison.Samples == 1 ? "sample" : "samples")} of {data}"));
        host.Console.WriteTable(OnnxQuantizeReport.Outputs(comparison.Outputs));
        if (comparison.Outputs.MaxBy(output => output.RelativeError) is { RelativeError: { } error } worst)
        {
            host.Output.WriteLine(
                $"error       at most {Numbers.RelativeError(error)} of an output ({TerminalText.Printable(worst.Name)})"
                + (Tolerance is { } most ? $"; {Numbers.RelativeError(most)} allowed" : string.Empty));
        }

        if (comparison.Outputs.Sum(output => output.NonFinite) is > 0 and var count)
        {
            host.Output.WriteLine(string.Create(culture, $"not finite  {count} values that are finite in the float model"));
        }

        host.Output.WriteLine(comparison.Saturates
            ? string.Create(
                culture, $"saturation  sums of products saturate on this processor: other processors give other answers, with a difference of up to "
                    + $"{comparison.Saturation.Max(output => output.Largest ?? 1 - output.Agreement):G3}")
            : "saturation  none on this processor: the answers are those of exact sums");
        host.Output.WriteLine($"verdict     {verdict}");
    }

    private sealed class SampleProgress(IProgress<RunProgress> progress, long total) : IProgress<int>
    {
        public void Report(int value) => progress.Report(new RunProgress("compare", value, Math.Max(total, value)));
    }
}
