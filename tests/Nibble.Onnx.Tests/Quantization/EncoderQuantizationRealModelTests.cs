using System.Numerics.Tensors;
using Nibble.Models;
using Nibble.Onnx.Engine;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Quantization;
using Nibble.Onnx.Quantization.Dynamic;
using Nibble.Onnx.Quantization.Weights;
using Nibble.Tests.Shared;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Quantization;

/// <summary>A pretrained sentence encoder, as a file of ONNX.</summary>
public sealed class EncoderQuantizationRealModelTests : IDisposable
{
    // "this is a test of sentence em..." and "the weather is lovely today".
    private static readonly long[][] Texts = [[101, 2023, 2003, 1037, 3231, 1997, 6251, 7861, 102], [101, 1996, 4633, 2003, 8403, 2651, 102]];

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void EmbeddingsAreCloseToThoseOfTheFloatModel()
    {
        using (var tensors = ModelTensors.Open(SharedData.Require("all-MiniLM-L6-v2"), new TaskConfig(ModelTask.Embedding, Pooling.Mean, Normalizes: true)))
        {
            OnnxExporter.Run(tensors, folder.File("float.onnx"));
        }

        var source = BasicOptimizer.Optimize(OnnxModelReader.Read(folder.File("float.onnx")), "float.onnx", folder.Path).Model;
        var expected = Run(source);
        foreach (var (apply, size, cosine) in (ReadOnlySpan<(Func<OnnxGraph, IReadOnlyList<NodeDecision>>, double, double)>)[
            (graph => DynamicQuantizer.Apply(graph, new DynamicOptions()), 0.26, 0.985),
            (graph => WeightOnlyQuantizer.Apply(graph, new WeightOnlyOptions { Bits = 8 }), 0.28, 0.999),
            (graph => WeightOnlyQuantizer.Apply(graph, new WeightOnlyOptions()), 0.22, 0.95)])
        {
            var graph = new OnnxGraph(source.Clone());
            var decisions = apply(graph);

            // 6 layers of 6 products, and the tables of words and positions.
            Assert.Equal(36, decisions.Count(decision => decision is { Operator: "MatMul", Kept: null }));
            Assert.Equal(2, decisions.Count(decision => decision is { Operator: "Gather", Kept: null }));
            Assert.InRange(graph.Model.CalculateSize(), 1, source.CalculateSize() * size);
            Assert.All(
                expected.Zip(Run(graph.Model)),
                pair => Assert.InRange(TensorPrimitives.CosineSimilarity<float>(pair.First, pair.Second), cosine, 1.00001));
        }
    }

    private static float[][] Run(ModelProto model)
    {
        using var test = new TestGraph();
        return Array.ConvertAll(Texts, ids =>
        {
            long[] shape = [1, ids.Length];
            return test.Run(
                new OnnxGraph(model), isDefault: true,
                ("input_ids", ids, shape), ("attention_mask", Array.ConvertAll(ids, _ => 1L), shape), ("token_type_ids", new long[ids.Length], shape));
        });
    }
}
