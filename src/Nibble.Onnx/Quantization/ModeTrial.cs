namespace Nibble.Onnx.Quantization;

/// <summary>What a mode gave when the fastest was looked for, measured on samples of the calibration.</summary>
/// <param name="Mode">The mode.</param>
/// <param name="Loss">The largest relative error of an output, <c>sqrt(sum (x - y)^2 / sum x^2)</c>.</param>
/// <param name="Ratio">How many times faster than the float graph, one thread.</param>
/// <param name="Bytes">The size of the file.</param>
public sealed record ModeTrial(OnnxMode Mode, double Loss, double Ratio, long Bytes)
{
    /// <summary>Whether the mode found nothing to quantize, so that the file is the float model.</summary>
    public bool IsIdle { get; init; }
}
