using Nibble.Onnx.Quantization;
using Nibble.Onnx.Quantization.Estimation;

namespace Nibble.Cli.Report.Documents;

/// <summary>The document of <c>quantize --dry-run --json</c> for an ONNX file.</summary>
/// <remarks>The number of samples is null if only reading them shows it. Passes are how often they would be read to calibrate.</remarks>
internal sealed record OnnxEstimateDocument(
    string Schema,
    string Model,
    OnnxMode Mode,
    long SourceBytes,
    string Data,
    long? Samples,
    int CalibrationSamples,
    int Passes,
    long PeakBytes,
    IReadOnlyList<ModeEstimate> Modes,
    IReadOnlyList<string> Notes,
    double Seconds)
{
    public const string CurrentSchema = "nibble.estimate-onnx/1";
}
