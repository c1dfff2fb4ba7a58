using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Quantization;

/// <summary>A graph after quantization.</summary>
/// <param name="Graph">The graph.</param>
/// <param name="Nodes">What became of each node.</param>
/// <param name="Values">The values that are quantized, by their names in the float graph.</param>
internal sealed record QuantizedGraph(OnnxGraph Graph, IReadOnlyList<NodeDecision> Nodes, IReadOnlyList<string> Values);
