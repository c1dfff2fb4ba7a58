using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Quantization.Placement;

/// <summary>Decides for one kind of operator whether ONNX Runtime has an integer kernel for a node.</summary>
/// <remarks>Source: the QDQ selectors of ONNX Runtime 1.31, <c>onnxruntime/core/optimizer/qdq_transformer/selectors_actions</c>.</remarks>
internal interface IPlacementRule
{
    /// <summary>The standard operators that it knows.</summary>
    IReadOnlyList<string> Operators { get; }

    /// <summary>Judges a node.</summary>
    /// <param name="node">The node, whose operator is one of <see cref="Operators"/>.</param>
    /// <param name="graph">Its graph, without Constant nodes.</param>
    /// <param name="reason">Why it must stay float. Empty if it need not.</param>
    /// <returns>Its form. Null if it must stay float.</returns>
    NodeForm? Judge(NodeProto node, OnnxGraph graph, out string reason);
}
