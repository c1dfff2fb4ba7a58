namespace Nibble.Onnx.Quantization;

/// <summary>A weight in signed bytes, symmetric, with a scale for each output channel.</summary>
/// <param name="Codes">The codes, in the order of the weight.</param>
/// <param name="Scales">A scale for each channel.</param>
/// <param name="Guarded">The number of channels whose scale was raised by <see cref="SaturationGuard"/>.</param>
/// <param name="Raised">The number of channels whose scale was raised to the least that was asked for.</param>
internal sealed record ChannelCodes(sbyte[] Codes, float[] Scales, int Guarded, int Raised)
{
    /// <summary>The largest code. -128 is not used, so that the codes are symmetric.</summary>
    public const int Largest = 127;
}
