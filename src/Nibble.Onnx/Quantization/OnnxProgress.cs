namespace Nibble.Onnx.Quantization;

/// <summary>What a quantization does at present.</summary>
/// <param name="Stage">The stage, for example <c>calibrate</c>.</param>
/// <param name="Done">What of the stage is done.</param>
/// <param name="Total">What the stage consists of at most. Null if unknown.</param>
public sealed record OnnxProgress(string Stage, int Done, int? Total);
