using System.Numerics.Tensors;
using Nibble.Models;
using Nibble.Onnx.Serving;
using Nibble.Onnx.Tests.Shared;
using Nibble.Tests.Shared;
using Nibble.Torch.Models;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Serving;

/// <summary>A real sentence encoder on real pairs of sentences, from text to cosine.</summary>
public sealed class SentenceEncoderRealModelTests : IDisposable
{
    private const int Pairs = 8;

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void EmbeddingsAreThoseOfTheSimulation()
    {
        var model = SharedData.Require("all-MiniLM-L6-v2");
        var pairs = File.ReadLines(SharedData.Require("sts-benchmark/dev.tsv")).Take(Pairs).Select(line => line.Split('\t')).ToList();
        string[] texts = [.. pairs.SelectMany(pair => pair[..2])];
        var task = new TaskConfig(ModelTask.Embedding, Pooling.Mean, Normalizes: true);
        using (var tensors = ModelTensors.Open(model, task))
        {
            OnnxExporter.Run(tensors, folder.File("model.onnx"));
        }

        using var encoder = SentenceEncoder.Open(folder.File("model.onnx"));
        var found = encoder.Encode(texts, TestContext.Current.CancellationToken);
        using var simulated = LoadedModel.Open(model, task);
        var expected = Array.ConvertAll(texts, text => TinyExport.Simulate(simulated, text));

        Assert.Equal((384, 512), (encoder.EmbeddingLength, encoder.MaxLength));
        Assert.All(expected.Zip(found), pair => Assert.InRange(BothWays.Difference(pair.First, pair.Second), 0, 1e-4f));
        Assert.All(Enumerable.Range(0, Pairs), pair => Assert.Equal(
            TensorPrimitives.CosineSimilarity<float>(expected[2 * pair], expected[(2 * pair) + 1]),
            TensorPrimitives.CosineSimilarity<float>(found[2 * pair], found[(2 * pair) + 1]),
            1e-4f));
    }
}
