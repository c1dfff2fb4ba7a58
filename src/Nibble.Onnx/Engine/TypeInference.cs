using Microsoft.ML.OnnxRuntime;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Engine;

/// <summary>Lets ONNX Runtime infer the types of the values for which a model does not say them.</summary>
internal static class TypeInference
{
    /// <summary>Adds the types of all values of a graph that are tensors. Values inside of nodes stay as they are.</summary>
    /// <param name="graph">The graph.</param>
    /// <param name="name">What messages call the model, for example its path.</param>
    /// <param name="folder">A folder for temporary files.</param>
    /// <exception cref="NibbleException">ONNX Runtime refuses the model.</exception>
    public static void Complete(OnnxGraph graph, string name, string folder)
    {
        ArgumentNullException.ThrowIfNull(graph);
        var unknown = graph.Nodes.SelectMany(node => node.Output).Where(value => value.Length > 0 && graph.TypeOf(value) is null)
            .ToHashSet(StringComparer.Ordinal);
        if (unknown.Count == 0)
        {
            return;
        }

        using var session = ProbedGraph.Open(graph, unknown, folder, path =>
            OnnxRuntimeSession.Open(path, name, 1, settings => settings.GraphOptimizationLevel = GraphOptimizationLevel.ORT_DISABLE_ALL));
        foreach (var (value, type) in session.OutputMetadata.Where(output => unknown.Contains(output.Key) && output.Value.IsTensor))
        {
            // No sizes mean a scalar or an unknown number of axes.
            var sizes = type.Dimensions.Select(size => size < 0 ? (long?)null : size).ToList();
            graph.SetType(value, new TensorType((OnnxType)(int)type.ElementDataType, sizes.Count == 0 ? null : sizes));
        }
    }
}
