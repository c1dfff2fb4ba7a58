namespace Nibble.Onnx.Quantization;

/// <summary>What became of a node.</summary>
/// <param name="Node">Its name.</param>
/// <param name="Operator">Its operator.</param>
/// <param name="Kept">Why it stays float. Null if it computes with integers.</param>
public sealed record NodeDecision(string Node, string Operator, string? Kept);
