using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Preparation;

/// <summary>Recognizes models that are quantized already.</summary>
internal static class QuantizedNodes
{
    private static readonly string[] Operators =
    [
        "ConvInteger", "DequantizeLinear", "GatherBlockQuantized", "MatMulBnb4", "MatMulFpQ4", "MatMulInteger", "MatMulIntegerToFloat", "MatMulNBits",
        "QAttention", "QEmbedLayerNormalization", "QGemm", "QMoE", "QuantizeLinear",
    ];

    private static readonly string[] Prefixes = ["DynamicQuantize", "QLinear", "QOrdered"];

    /// <summary>Refuses a model that is quantized already.</summary>
    /// <param name="model">The model.</param>
    /// <param name="name">What the message calls the model.</param>
    /// <exception cref="NibbleException">A node computes with quantized numbers. The message names the first one.</exception>
    public static void Refuse(ModelProto model, string name)
    {
        if (model.Nodes().FirstOrDefault(node => Is(node.OpType)) is { } found)
        {
            throw new NibbleException(
                $"{name} is quantized already: the node '{(found.Name.Length > 0 ? found.Name : found.Output.FirstOrDefault())}' has the operator "
                + $"{found.OpType}. Give the float model that it was made from.");
        }
    }

    /// <summary>Whether an operator computes with quantized numbers.</summary>
    public static bool Is(string type) =>
        Operators.Contains(type, StringComparer.Ordinal) || Prefixes.Any(prefix => type.StartsWith(prefix, StringComparison.Ordinal));
}
