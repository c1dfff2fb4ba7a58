using Microsoft.ML.OnnxRuntime.Tensors;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Engine;

/// <summary>Finds the types and shapes of all values of a graph, as ONNX Runtime infers them.</summary>
internal static class ValueTypes
{
    /// <summary>Records the types of all values that have none yet.</summary>
    /// <param name="graph">The graph.</param>
    /// <param name="folder">A folder for temporary files.</param>
    /// <exception cref="NibbleException">ONNX Runtime refuses the graph.</exception>
    public static void Infer(OnnxGraph graph, string folder)
    {
        ArgumentNullException.ThrowIfNull(graph);
        var unknown = graph.Nodes.SelectMany(node => node.Output).Where(value => value.Length > 0 && graph.TypeOf(value) is null).ToList();
        if (unknown.Count == 0)
        {
            return;
        }

        using var session = ProbedGraph.Open(graph, unknown, folder, isOptimized: false);
        foreach (var value in unknown)
        {
            if (session.OutputMetadata[value] is { IsTensor: true } metadata)
            {
                // No sizes may mean a scalar, or that nothing is known.
                IReadOnlyList<long?>? shape = metadata.Dimensions.Length == 0 ? null : [.. metadata.Dimensions.Select(size => size < 0 ? (long?)null : size)];
                graph.SetType(value, new TensorType(TypeOf(metadata.ElementDataType), shape));
            }
        }
    }

    // Both enumerations have the values of TensorProto.DataType.
    private static OnnxType TypeOf(TensorElementType type) => (OnnxType)(int)type;
}
