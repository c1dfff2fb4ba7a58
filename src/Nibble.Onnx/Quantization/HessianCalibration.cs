using System.Numerics.Tensors;
using Microsoft.ML.OnnxRuntime;
using Nibble.Numerics;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Quantization;

/// <summary>Measures the Hessian <c>2/n X^T X</c> of the inputs of products, for GPTQ. One matrix per distinct input is kept, whatever the data.</summary>
internal static class HessianCalibration
{
    /// <summary>Measures the inputs of all products by constants.</summary>
    /// <param name="model">The float model.</param>
    /// <param name="samples">The samples.</param>
    /// <param name="options">The states, and the sizes of inputs.</param>
    /// <param name="progress">Takes the number of samples so far.</param>
    /// <param name="cancellation">Stops the run.</param>
    /// <returns>The Hessians by value, and the number of samples.</returns>
    public static (IReadOnlyDictionary<string, SquareMatrix> Hessians, int Samples) Run(
        PreparedModel model,
        IEnumerable<IReadOnlyCollection<NamedOnnxValue>> samples,
        OnnxQuantizationOptions options,
        IProgress<int>? progress,
        CancellationToken cancellation)
    {
        var graph = model.Graph();
        var sums = Inputs(graph).ToDictionary(input => input.Key, input => new SquareMatrix(input.Value), StringComparer.Ordinal);
        var rows = sums.Keys.ToDictionary(name => name, _ => 0L, StringComparer.Ordinal);
        var count = WatchedGraph.Run(
            graph, sums.Keys, samples, options, model, (value, numbers) => rows[value] += Add(numbers, sums[value]), progress, cancellation);
        foreach (var (name, sum) in sums)
        {
            for (var i = 0; i < sum.Size; i++)
            {
                TensorPrimitives.Multiply(sum.Row(i), 2f / Math.Max(rows[name], 1), sum.Row(i));
            }
        }

        return (sums, count);
    }

    /// <summary>The inputs of all products by constants, with the sizes of their last axes.</summary>
    public static IReadOnlyDictionary<string, int> Inputs(OnnxGraph graph) =>
        graph.Nodes.Where(node => node.IsStandard() && node.OpType is "MatMul" or "Gemm")
            .Select(node => ConstantProduct.Find(graph, node, out _)).OfType<ConstantProduct>()
            .GroupBy(product => product.Input).ToDictionary(group => group.Key, group => group.First().Inputs, StringComparer.Ordinal);

    private static int Add(ReadOnlySpan<float> values, SquareMatrix sum)
    {
        for (var start = 0; start < values.Length; start += sum.Size)
        {
            var row = values.Slice(start, sum.Size);
            for (var i = 0; i < row.Length; i++)
            {
                var target = sum.Row(i);
                TensorPrimitives.MultiplyAdd(row, row[i], target, target);
            }
        }

        return values.Length / sum.Size;
    }
}
