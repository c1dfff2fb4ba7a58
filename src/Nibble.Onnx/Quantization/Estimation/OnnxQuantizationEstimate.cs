namespace Nibble.Onnx.Quantization.Estimation;

/// <summary>What a quantization would do.</summary>
/// <param name="SourceBytes">The size of the float model in bytes, with its tensor file.</param>
/// <param name="Modes">The modes that would be tried, in their order.</param>
/// <param name="PeakBytes">The most bytes of memory that the process would hold, whatever the number of samples.</param>
/// <param name="Passes">How often the samples would be read to calibrate. 0 if no mode calibrates.</param>
/// <param name="Notes">What only data decides, in plain words.</param>
internal sealed record OnnxQuantizationEstimate(
    long SourceBytes, IReadOnlyList<ModeEstimate> Modes, long PeakBytes, int Passes, IReadOnlyList<string> Notes)
{
    /// <summary>How values are watched.</summary>
    internal required MemoryPlan Memory { get; init; }
}
