using System.Numerics.Tensors;
using Nibble.Models;
using Nibble.Onnx.Engine;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Quantization.Dynamic;
using Nibble.Onnx.Quantization.Weights;
using Nibble.Tests.Shared;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Quantization;

/// <summary>A pretrained sentence encoder, as a file of ONNX.</summary>
public sealed class EncoderQuantizationRealModelTests : IDisposable
{
    // "this is a test of sentence embeddings" and "the weather is lovely today", the second padded.
    private static readonly long[] Ids = [101, 2023, 2003, 1037, 3231, 1997, 6251, 7861, 102, 101, 1996, 4633, 2003, 8403, 2651, 102, 0, 0];
    private static readonly long[] Mask = [.. Ids.Select(id => id == 0 ? 0L : 1)];

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("dynamic", 0.99)]
    [InlineData("weights 8", 0.999)]
    [InlineData("weights 4", 0.95)]
    public void EmbeddingsAreCloseToThoseOfTheFloatModel(string mode, double cosine)
    {
        using (var tensors = ModelTensors.Open(SharedData.Require("all-MiniLM-L6-v2"), new TaskConfig(ModelTask.Embedding, Pooling.Mean, Normalizes: true)))
        {
            OnnxExporter.Run(tensors, folder.File("float.onnx"));
        }

        var graph = BasicOptimizer.Optimize(OnnxModelReader.Read(folder.File("float.onnx")), "float.onnx", folder.Path);
        var decisions = mode == "dynamic" ? DynamicQuantizer.Apply(graph, new DynamicOptions())
            : WeightOnlyQuantizer.Apply(graph, new WeightOnlyOptions { Bits = mode[^1] - '0' });
        OnnxWriter.Write(folder.File("quantized.onnx"), graph.Model);

        // 6 layers of 6 products, and the tables of words and positions.
        Assert.Equal(36, decisions.Count(decision => decision is { Operator: "MatMul", Kept: null }));
        Assert.Equal(2, decisions.Count(decision => decision is { Operator: "Gather", Kept: null }));
        Assert.InRange(new FileInfo(folder.File("quantized.onnx")).Length, 1, new FileInfo(folder.File("float.onnx")).Length * 0.27);
        var (expected, found) = (Run("float.onnx"), Run("quantized.onnx"));
        for (var text = 0; text < 2; text++)
        {
            Assert.InRange(TensorPrimitives.CosineSimilarity(Embedding(expected, text), Embedding(found, text)), cosine, 1);
        }
    }

    private static ReadOnlySpan<float> Embedding(float[] values, int text) => values.AsSpan(text * values.Length / 2, values.Length / 2);

    private float[] Run(string file)
    {
        using var test = new TestGraph();
        long[] shape = [2, Ids.Length / 2];
        return test.Run(
            OnnxModelReader.Read(folder.File(file)), isDefault: true,
            ("input_ids", Ids, shape), ("attention_mask", Mask, shape), ("token_type_ids", new long[Ids.Length], shape));
    }
}
