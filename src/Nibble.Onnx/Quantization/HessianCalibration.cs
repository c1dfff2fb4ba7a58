using System.Numerics.Tensors;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using Nibble.Numerics;
using Nibble.Onnx.Engine;

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
        var inputs = graph.Inputs.Select(input => input.Name).ToHashSet(StringComparer.Ordinal);
        var sums = graph.Nodes.Where(node => WeightPass.IsStandard(node) && node.OpType is "MatMul" or "Gemm")
            .Select(node => ConstantProduct.Find(graph, node, out _)).OfType<ConstantProduct>()
            .GroupBy(product => product.Input).ToDictionary(group => group.Key, group => new SquareMatrix(group.First().Inputs), StringComparer.Ordinal);
        var rows = sums.Keys.ToDictionary(name => name, _ => 0L, StringComparer.Ordinal);
        var computed = sums.Keys.Where(name => !inputs.Contains(name)).ToList();
        var count = 0;
        using (var session = new StatefulSession(ProbedGraph.Open(graph, computed, model.Folder), options))
        {
            foreach (var sample in samples)
            {
                cancellation.ThrowIfCancellationRequested();
                using var outputs = session.Run(sample, computed.Count > 0 ? computed : session.Outputs);
                foreach (var value in outputs.Concat(sample).Where(value => sums.ContainsKey(value.Name)))
                {
                    rows[value.Name] += Add(((DenseTensor<float>)value.AsTensor<float>()).Buffer.Span, sums[value.Name]);
                }

                count++;
                progress?.Report(count);
            }
        }

        foreach (var (name, sum) in sums)
        {
            for (var i = 0; i < sum.Size; i++)
            {
                TensorPrimitives.Multiply(sum.Row(i), 2f / Math.Max(rows[name], 1), sum.Row(i));
            }
        }

        return (sums, count);
    }

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
