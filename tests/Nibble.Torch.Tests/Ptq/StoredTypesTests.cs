using Nibble.Formats.CompressedTensors;
using Nibble.Files;
using Nibble.Algorithms;
using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;
using Nibble.Torch.Tests.Models.Bert;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Ptq;

/// <summary>What stays float has the type that the checkpoint stores it in, tensor by tensor, and everything else is fitted to the values that this type
/// holds.</summary>
public sealed class StoredTypesTests : IDisposable
{
    private static readonly TokenizedText Text = Texts.Random(1024);

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    /// <summary>Factors move from a norm to the layers that read it; the layers have to take what the norm, rounded to its own type, really gave
    /// away.</summary>
    [Fact]
    public void ScaledNormsOfDifferentTypesAreRoundedEachToItsOwn()
    {
        var tiny = new TinyLlama { StoredEach = name => name.Contains("post_attention", StringComparison.Ordinal) ? ElementType.BF16 : ElementType.F32 };

        var rule = new RecipeRule("*", new QuantizationScheme(4, symmetric: false, Granularity.Group(8))) { Algorithms = WeightAlgorithms.Parse(["awq"]) };
        var model = Run(tiny, new Recipe("scaled", [rule]));
        var before = tiny.Tensors();
        foreach (var block in Enumerable.Range(0, TinyLlama.Layers).Select(layer => $"model.layers.{layer}."))
        {
            // The rows of the value and up projections give factors away themselves.
            foreach (var (norm, type, reader) in new[]
            {
                ("input_layernorm", ElementType.F32, "self_attn.q_proj"),
                ("input_layernorm", ElementType.F32, "self_attn.k_proj"),
                ("post_attention_layernorm", ElementType.BF16, "mlp.gate_proj"),
            })
            {
                var after = model.FloatTensors.Single(tensor => tensor.Name == $"{block}{norm}.weight");
                Assert.Equal(type, after.StoredAs);
                var given = before[after.Name].Values.Zip(after.Values, (old, now) => old / now).ToArray();
                Assert.True(given.Max() > 1.01, "AWQ has scaled nothing, so that nothing is tested.");
                var layer = model.Layers.Single(layer => layer.Name == block + reader).Weight;
                var taken = before[$"{block}{reader}.weight"].Values.Select((weight, i) => weight * given[i % layer.Columns]).ToArray();
                var expected = RoundToNearest.Quantize(taken, layer.Rows, layer.Columns, layer.Scheme);
                Assert.Equal(expected.Codes, layer.Codes);
                Bits.Equal(expected.Scales, layer.Scales);
            }
        }
    }

    [Fact]
    public void LaterBlocksAreCalibratedOnTheBiasesThatAreStored()
    {
        var tiny = new TinyLlama { StoredAs = ElementType.BF16 };
        var model = Run(tiny, RecipePresets.Parse("w2a8-g8-static-debias"));
        using var artifact = LoadedModel.Open(folder.File("out"));
        var observer = new Observers.MinMaxObserver();
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        artifact.Llama().Linears.Single(linear => linear.Key == "model.layers.1.self_attn.q_proj").Value.InputQuantizer = new ObservingQuantizer(observer);
        artifact.Llama().forward(tensor(Enumerable.Range(0, 16).SelectMany(window => Text.Window(window * 64, 64)).ToArray(), 16, 64));
        var layer = model.Layers.Single(layer => layer.Name == "model.layers.1.self_attn.q_proj");
        var expected = QuantizationParameters.FromRange(observer.Range(layer.Input!.Scheme), layer.Input.Scheme);
        Assert.Equal(expected, layer.Input.Static);
    }

    [Fact]
    public void ClassifiersKeepTheTypesOfWhatStaysFloat()
    {
        var path = new TinyBert().Write(folder.File("half"), tensors =>
        {
            foreach (var (_, values) in tensors.Values)
            {
                for (var i = 0; i < values.Length; i++)
                {
                    values[i] = ElementType.F16.Round(values[i]);
                }
            }
        }, ElementType.F16);
        using var classifier = LoadedModel.Open(path);
        var quantized = PostTrainingQuantizer.Run(classifier, RecipePresets.Parse("w8a16-g8"), null, seed: 1);
        Assert.All(quantized.FloatTensors, tensor => Assert.Equal(ElementType.F16, tensor.StoredAs));
        QuantizedModelFile.Save(quantized, folder.File("out"));
        using var read = LoadedModel.Open(folder.File("out"));
        Assert.All(read.Quantized!.FloatTensors.Zip(quantized.FloatTensors), pair => Bits.Equal(pair.First.Values, pair.Second.Values));
    }

    private QuantizedModel Run(TinyLlama tiny, Recipe recipe)
    {
        PostTrainingQuantizer.Run(new PtqRequest(tiny.Write(folder.File("tiny")), recipe, folder.File("out")) { Data = Text });
        return QuantizedModelFile.Load(folder.File("out"));
    }
}
