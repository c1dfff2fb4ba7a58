using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Quantization;

/// <summary>A graph after quantization.</summary>
/// <param name="Graph">The graph.</param>
/// <param name="Nodes">What became of each node.</param>
/// <param name="Values">The values that are quantized, by their names in the float graph.</param>
internal sealed record QuantizedGraph(OnnxGraph Graph, IReadOnlyList<NodeDecision> Nodes, IReadOnlyList<string> Values)
{
    /// <summary>The float model whose values the graph approximates. Null if it is the prepared model itself.</summary>
    public PreparedModel? Float { get; init; }

    /// <summary>What made <see cref="Float"/> of the prepared model.</summary>
    public IReadOnlyList<GraphTransformation> Transformations { get; init; } = [];
}
