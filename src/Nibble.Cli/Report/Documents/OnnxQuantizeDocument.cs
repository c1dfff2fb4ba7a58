using Nibble.Onnx.Quantization;
using Nibble.Onnx.Quantization.Proof;

namespace Nibble.Cli.Report.Documents;

/// <summary>The document of <c>quantize --json</c> for an ONNX file.</summary>
internal sealed record OnnxQuantizeDocument(
    string Schema,
    string Output,
    OnnxMode Mode,
    long Bytes,
    long SourceBytes,
    string Data,
    int CalibrationSamples,
    int ComparedSamples,
    bool IsHeldOut,
    IReadOnlyList<OutputDifference> Outputs,
    IReadOnlyList<OutputDifference> Layers,
    PairedTiming? Timing,
    IReadOnlyList<ModeTrial> Trials,
    IReadOnlyList<NodeDecision> Nodes,
    IReadOnlyList<GraphTransformation> Transformations,
    double Seconds,
    long PeakBytes)
{
    public const string CurrentSchema = "nibble.quantize-onnx/1";
}
