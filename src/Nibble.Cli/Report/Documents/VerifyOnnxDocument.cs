using Nibble.Onnx.Quantization.Proof;

namespace Nibble.Cli.Report.Documents;

/// <summary>The document of <c>verify --against --json</c>.</summary>
/// <remarks>The tolerance is a share, and null for any. Saturation has the differences from exact sums of products, by output.</remarks>
internal sealed record VerifyOnnxDocument(
    string Schema,
    string File,
    string Against,
    string Data,
    string Verdict,
    int Samples,
    double? Tolerance,
    IReadOnlyList<OutputDifference> Outputs,
    bool Saturates,
    IReadOnlyList<OutputDifference> Saturation)
{
    public const string CurrentSchema = "nibble.verify-onnx/1";
}
