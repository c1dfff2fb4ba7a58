using Nibble.Formats.CompressedTensors;
using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Layers;
using Nibble.Recipes;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Layers;

/// <summary>Single layers are read back from the constants that their nodes take.</summary>
public sealed class LayerReadingTests
{
    [Fact]
    public void LinearLayersAreReadAsTheyWere() =>
        Gen.Select(LinearNodesEngineTests.WeightSchemes, LinearNodesEngineTests.Inputs, Gen.Int[1, 40], Gen.Int[1, 300], Gen.Bool, Gen.Int).Sample(
        (scheme, input, rows, columns, scattered, seed) => RequireSame(
            new QuantizedLayer("layer", LinearNodesEngineTests.Weight(scheme, rows, columns, scattered && scheme.Granularity is PerGroup, new Random(seed)),
                input),
            (graph, tensors) => new LinearNodes(graph, tensors).Apply(graph.Input("x", OnnxType.Float32, 1, columns), "layer", rows, columns, bias: false)),
        iter: 300,
        threads: 1);

    [Fact]
    public void TablesAreReadAsTheyWere() => Gen.Select(LinearNodesEngineTests.WeightSchemes, Gen.Int[1, 40], Gen.Int[1, 300], Gen.Int).Sample(
        (scheme, rows, columns, seed) => RequireSame(
            new QuantizedLayer("layer", LinearNodesEngineTests.Weight(scheme, rows, columns, scattered: false, new Random(seed)), Input: null),
            (graph, tensors) => new EmbeddingNodes(graph, tensors).Apply(graph.Input("x", OnnxType.Int64, 1), "layer", rows, columns)),
        iter: 200,
        threads: 1);

    private static void RequireSame(QuantizedLayer layer, Func<GraphBuilder, ModelTensors, string> apply)
    {
        using var folder = new TemporaryFolder();
        QuantizedModelFile.Save(
            new QuantizedModel("{}", [layer], [], new Recipe("test", []),
                new Provenance("0", "ptq", 0, new Dictionary<string, string>(), new Dictionary<string, double>()), string.Empty),
            folder.File("artifact"));
        using (var tensors = ModelTensors.Open(folder.File("artifact")))
        {
            var graph = new GraphBuilder();
            apply(graph, tensors);
            OnnxWriter.Write(folder.File("layer.onnx"), graph.Build("layer", OnnxMetadata.Of(tensors, maxSequence: null)), graph.Initializers);
        }

        using var exported = ModelTensors.OpenExported(folder.File("layer.onnx"));
        apply(new GraphBuilder(), exported);
        var read = Assert.Single(exported.Exported!.Layers);
        Assert.Equal((layer.Name, layer.Weight.Rows, layer.Weight.Columns, layer.Weight.Scheme, layer.Input),
            (read.Name, read.Weight.Rows, read.Weight.Columns, read.Weight.Scheme, read.Input));
        Assert.Equal(layer.Weight.Codes, read.Weight.Codes);
        Assert.Equal(layer.Weight.Scales, read.Weight.Scales);
        Assert.Equal(layer.Weight.ZeroPoints, read.Weight.ZeroPoints);
        Assert.Equal(layer.Weight.GroupIndex, read.Weight.GroupIndex);
    }
}
