using System.Globalization;
using Nibble.Onnx.Quantization;

namespace Nibble.Cli.Report.Documents;

/// <summary>The document of <c>sensitivity --json</c> for an ONNX file.</summary>
/// <remarks>The nodes are in the order of their losses, the largest first.</remarks>
internal sealed record OnnxSensitivityDocument(
    string Schema, string Model, string Data, int CalibrationSamples, int MeasuredSamples, bool IsHeldOut, IReadOnlyList<NodeSensitivity> Nodes)
{
    public const string CurrentSchema = "nibble.sensitivity-onnx/1";

    /// <summary>What was measured on what, in a sentence.</summary>
    public string Measured() => string.Create(
        CultureInfo.InvariantCulture,
        $"calibrated on {CalibrationSamples} samples of {Data}, measured on {MeasuredSamples} {(IsHeldOut ? "others" : "of the same")}");
}

/// <summary>Texts for the nodes of the document.</summary>
internal static class NodeSensitivityText
{
    /// <summary>The time of a node in the float graph.</summary>
    public static string Milliseconds(this NodeSensitivity node) =>
        node.Seconds is { } seconds ? string.Create(CultureInfo.InvariantCulture, $"{seconds * 1e3:0.000} ms") : Numbers.Missing;
}
