namespace Nibble.Onnx.Quantization;

/// <summary>A layer that a <see cref="GraphTransformation"/> left as it is.</summary>
/// <param name="Node">The node's name.</param>
/// <param name="Operator">Its operator.</param>
/// <param name="Reason">Why, in plain words.</param>
public sealed record SkippedLayer(string Node, string Operator, string Reason);
