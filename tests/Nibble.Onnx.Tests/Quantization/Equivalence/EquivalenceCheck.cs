using Google.Protobuf;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using Nibble.Onnx.Engine;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Tests.Quantization.Simulated;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Quantization.Equivalence;

/// <summary>Compares graphs that shall compute the same.</summary>
internal static class EquivalenceCheck
{
    /// <summary>The largest difference, relative to the largest number of the output: that of float sums in another order.</summary>
    private const float Tolerance = 1e-5f;

    /// <summary>Requires the same float outputs.</summary>
    public static void RequireSame(ModelProto expected, ModelProto found, IEnumerable<IReadOnlyList<NamedOnnxValue>> samples, string what)
    {
        using var folder = new TemporaryFolder();
        using var first = Open(expected, folder, "first.onnx");
        using var second = Open(found, folder, "second.onnx");
        foreach (var sample in samples)
        {
            using var x = first.Run(sample);
            using var y = second.Run(sample);
            foreach (var (one, other) in x.Zip(y).Where(pair => pair.First.Value is Tensor<float>))
            {
                var (wanted, got) = (one.AsTensor<float>().ToArray(), other.AsTensor<float>().ToArray());
                var largest = wanted.Select(Math.Abs).DefaultIfEmpty(0).Max();
                Assert.All(wanted.Zip(got), pair => Assert.True(
                    MathF.Abs(pair.First - pair.Second) <= Tolerance * MathF.Max(largest, 1e-3f),
                    $"{what}: {one.Name} is {pair.Second}, expected {pair.First}"));
            }
        }
    }

    /// <summary>Random numbers for an input.</summary>
    public static NamedOnnxValue Sample(Random random, string name, int[] shape) => NamedOnnxValue.CreateFromTensor(
        name,
        new DenseTensor<float>(
            Enumerable.Range(0, shape.Aggregate(1, (product, size) => product * size)).Select(_ => RandomGraphs.Normal(random)).ToArray(), shape));

    private static InferenceSession Open(ModelProto model, TemporaryFolder folder, string name)
    {
        File.WriteAllBytes(folder.File(name), model.ToByteArray());
        return OnnxRuntimeSession.Open(
            folder.File(name), name, 1, settings => settings.GraphOptimizationLevel = GraphOptimizationLevel.ORT_DISABLE_ALL);
    }
}
