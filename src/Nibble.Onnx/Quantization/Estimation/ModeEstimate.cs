namespace Nibble.Onnx.Quantization.Estimation;

/// <summary>What a mode would give.</summary>
/// <param name="Mode">The mode, never <see cref="OnnxMode.Auto"/>.</param>
/// <param name="Bytes">The size of the file in bytes, with its tensor file.</param>
/// <param name="Nodes">What would become of each node, apart from what only data decides.</param>
internal sealed record ModeEstimate(OnnxMode Mode, long Bytes, IReadOnlyList<NodeDecision> Nodes);
