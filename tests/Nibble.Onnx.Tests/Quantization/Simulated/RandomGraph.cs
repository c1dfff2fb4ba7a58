using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Tests.Quantization.Simulated;

/// <summary>A model of random operators.</summary>
/// <param name="Seed">What it was made from: the same seed makes the same model.</param>
/// <param name="Model">The model.</param>
/// <param name="Inputs">Its inputs with the shapes to run it on. Integers are indices below a bound; it is 0 for float numbers.</param>
internal sealed record RandomGraph(int Seed, ModelProto Model, IReadOnlyList<(string Name, int[] Shape, int Bound)> Inputs)
{
    /// <summary>Random inputs, the same for the same seed.</summary>
    public IReadOnlyList<IReadOnlyList<NamedOnnxValue>> Samples(int count)
    {
        var random = new Random(Seed);
        return [.. Enumerable.Range(0, count).Select(_ => Sample(random))];
    }

    /// <summary>The operators, for messages.</summary>
    public override string ToString() => $"seed {Seed}: {string.Join(' ', Model.Graph.Node.Select(node => node.OpType))}";

    private NamedOnnxValue[] Sample(Random random) => [.. Inputs.Select(input =>
    {
        var count = input.Shape.Aggregate(1, (product, size) => product * size);
        return input.Bound > 0
            ? NamedOnnxValue.CreateFromTensor(
                input.Name, new DenseTensor<long>(Enumerable.Range(0, count).Select(_ => (long)random.Next(input.Bound)).ToArray(), input.Shape))
            : NamedOnnxValue.CreateFromTensor(
                input.Name, new DenseTensor<float>(Enumerable.Range(0, count).Select(_ => RandomGraphs.Normal(random)).ToArray(), input.Shape));
    })];
}
