namespace Nibble.Onnx.Quantization;

/// <summary>What quantizing one node alone does to the outputs.</summary>
/// <param name="Node">The node: a convolution or a product with a constant.</param>
/// <param name="Operator">Its operator.</param>
/// <param name="Loss">The largest relative error of an output, <c>sqrt(sum (x - y)^2 / sum x^2)</c>.</param>
/// <param name="Seconds">The time of the node in the float graph, one thread. Null if ONNX Runtime joins it with another.</param>
public sealed record NodeSensitivity(string Node, string Operator, double Loss, double? Seconds);
