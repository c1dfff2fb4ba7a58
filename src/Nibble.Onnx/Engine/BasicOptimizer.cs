using Microsoft.ML.OnnxRuntime;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Engine;

/// <summary>Lets ONNX Runtime simplify a graph: constants are folded, and batch normalization becomes part of the convolution before it.</summary>
/// <remarks>
/// Only the basic level: the next one fuses nodes into operators whose inner values calibration could not see. ONNX Runtime also inlines functions, and infers
/// the types and shapes of values.
/// </remarks>
internal static class BasicOptimizer
{
    /// <summary>Simplifies a model.</summary>
    /// <param name="graph">The model.</param>
    /// <param name="name">What messages call the model, for example its path.</param>
    /// <param name="folder">A folder for temporary files.</param>
    /// <exception cref="NibbleException">ONNX Runtime refuses the model.</exception>
    public static OnnxGraph Optimize(OnnxGraph graph, string name, string folder)
    {
        ArgumentNullException.ThrowIfNull(graph);
        var source = Path.Combine(folder, "source.onnx");
        var optimized = Path.Combine(folder, "optimized.onnx");
        OnnxWriter.Write(source, graph.Model);
        OnnxRuntimeSession.Open(source, name, 1, settings =>
        {
            settings.GraphOptimizationLevel = GraphOptimizationLevel.ORT_ENABLE_BASIC;
            settings.OptimizedModelFilePath = optimized;

            // A Gemm whose third input is computed has no integer kernel, but the MatMul and the Add that it is made of have.
            settings.AddSessionConfigEntry("optimization.disable_specified_optimizers", "MatMulAddFusion");
            if (File.Exists(OnnxWriter.DataPath(source)))
            {
                settings.AddSessionConfigEntry("session.optimized_model_external_initializers_file_name", Path.GetFileName(OnnxWriter.DataPath(optimized)));
            }
        }).Dispose();
        var result = OnnxModelReader.Read(optimized);
        foreach (var file in (string[])[source, optimized, OnnxWriter.DataPath(source), OnnxWriter.DataPath(optimized)])
        {
            File.Delete(file);
        }

        return result;
    }
}
