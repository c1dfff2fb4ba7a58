using Nibble.Onnx.Engine;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Graphs.Lifting;

namespace Nibble.Onnx.Preparation;

/// <summary>Brings models of any origin into the form that quantization starts from.</summary>
internal static class ModelPreparation
{
    // Quantization per channel came with this operator set.
    private const int PerChannelOperatorSet = 13;

    /// <summary>Reads a model that computes with float32, has operator set 13 or later and its constants folded, and says the types of its values.</summary>
    /// <param name="path">The ONNX file. It is not changed.</param>
    /// <param name="temporaryFolder">A folder for temporary files.</param>
    /// <exception cref="NibbleException">The file is missing or not valid, the model is quantized already, or it has no equivalent in newer operators. The
    /// message names the file and explains why.</exception>
    public static OnnxGraph Prepare(string path, string temporaryFolder)
    {
        var graph = OnnxModelReader.Read(path);
        QuantizedNodes.Refuse(graph.Model, path);
        graph = BasicOptimizer.Optimize(HalfGraphs.Widen(graph), path, temporaryFolder);
        if (graph.OperatorSet < PerChannelOperatorSet)
        {
            // Functions are inlined now, and known types make the changes simpler.
            var old = graph.OperatorSet;
            TypeInference.Complete(graph, path, temporaryFolder);
            OperatorSetLift.Lift(graph, path);
            graph = BasicOptimizer.Optimize(graph, $"{path}, changed from operator set {old} to {OperatorSetLift.Target}", temporaryFolder);
        }

        TypeInference.Complete(graph, path, temporaryFolder);
        return graph;
    }
}
