using Nibble.Formats.CompressedTensors;
using Nibble.Files;
using System.Text.Json.Nodes;
using Nibble.Artifacts;
using Nibble.Models.Decoders;
using Nibble.Recipes;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Models.Decoders;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Models;

public sealed class DecoderRotationTests : IDisposable
{
    private static readonly long[] Tokens = [256, 72, 101, 7, 0, 255, 101, 33, 72, 10, 200, 72];

    private readonly TemporaryFolder folder = new();

    public static TheoryData<string, bool, string> Families => DecoderModelTests.Families;

    public void Dispose() => folder.Dispose();

    [Theory]
    [MemberData(nameof(Families))]
    public void RotatedModelComputesTheSame(string type, bool tied, string further)
    {
        using var source = new TinyLlama { Type = type, Tied = tied, Further = further }.Open(folder);
        using var rotated = RotatedLlama.Of(source, seed: 3);
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var tokens = tensor(Tokens, 1, Tokens.Length);
        var expected = source.Llama().forward(tokens);
        Assert.Equal(0, (rotated.forward(tokens) - expected).abs().max().item<float>(), 1e-4);

        // Not by doing nothing.
        Assert.All(rotated.Linears.Zip(source.Llama().Linears),
            pair => Assert.True((pair.First.Value.Weight - pair.Second.Value.Weight).abs().max().item<float>() > 0.1));
        Assert.All(rotated.Blocks, block => Assert.Equal(16, block.InputNorm!.Weight.eq(1).sum().item<long>()));

        foreach (var block in rotated.Blocks)
        {
            block.Attention.HeadRotation = new HadamardTransform(8);
        }

        Assert.Equal(0, (rotated.forward(tokens) - expected).abs().max().item<float>(), 1e-4);
    }

    /// <summary>Families whose blocks normalize only inputs, with norms that add one, factors and fused projections.</summary>
    [Theory]
    [InlineData("gemma")]
    [InlineData("granite")]
    [InlineData("phi3-longrope")]
    [InlineData("smollm3-list")]
    public void RotatedModelOfAnotherFamilyComputesTheSame(string name)
    {
        using var source = LoadedModel.Open(ReferenceDecoder.Load(name).Write(folder.File("reference")));
        using var rotated = RotatedLlama.Of(source, seed: 3);
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var tokens = tensor(Tokens, 1, Tokens.Length);
        Assert.Equal(0, (rotated.forward(tokens) - source.Llama().forward(tokens)).abs().max().item<float>(), 1e-4);
        Assert.All(rotated.Linears.Zip(source.Llama().Linears),
            pair => Assert.True((pair.First.Value.Weight - pair.Second.Value.Weight).abs().max().item<float>() > 0.1));
    }

    /// <summary>A norm between a layer and the residual stream does not commute with a rotation.</summary>
    [Theory]
    [InlineData("gemma2")]
    [InlineData("olmo2")]
    public void FamiliesWithNormsOfOutputsAreNotRotated(string name)
    {
        using var parts = ModuleFamilies.Of(DecoderConfig.Parse(ReferenceDecoder.Load(name).ConfigJson, name))
            .CreateParts(DecoderConfig.Parse(ReferenceDecoder.Load(name).ConfigJson, name));
        Assert.Null(parts.CreateRotation(1));
    }

    [Fact]
    public void SeedsDrawTheSigns()
    {
        using var source = new TinyLlama().Open(folder);
        float[] Weight(long seed)
        {
            using var rotated = RotatedLlama.Of(source, seed);
            return Bits.Of(rotated.Linears[0].Value.Weight);
        }

        Assert.Equal(Weight(1), Weight(1));
        Assert.NotEqual(Weight(1), Weight(2));
    }

    [Fact]
    public void UntieHeadChangesOnlyThat()
    {
        var tied = new TinyLlama { Tied = true }.ConfigJson;
        var expected = JsonNode.Parse(tied)!.AsObject();
        expected["tie_word_embeddings"] = false;
        Assert.True(JsonNode.DeepEquals(expected, JsonNode.Parse(Untied(tied))));
        Assert.False(DecoderConfig.Parse(Untied(tied), "config.json").TiedHead);
        var untied = new TinyLlama().ConfigJson;
        Assert.Equal(untied, Untied(untied));
    }

    private static string Untied(string json) => DecoderConfig.Parse(json, "config.json").Untie(json);

    [Fact]
    public void ArtifactComputesWhatTheModelInMemoryComputes()
    {
        using var source = new TinyLlama { Tied = true }.Open(folder);
        using var rotated = RotatedLlama.Of(source, seed: 3);
        var quantized = RotatedLlama.RoundToNearest(rotated, source, RecipePresets.Parse("w4a8-g8-rotated"));
        QuantizedModelFile.Save(quantized, folder.File("artifact"));
        using var loaded = LoadedModel.Open(folder.File("artifact"));
        Assert.All(loaded.Quantized!.Layers,
            layer => Assert.Equal(layer.Name.EndsWith("down_proj", StringComparison.Ordinal) ? InputTransform.Hadamard : InputTransform.None,
            layer.InputTransform));
        using var simulated = (IDecoder)LoadedModel.Simulate(quantized, "memory");
        var text = Texts.Random(100);
        var result = Evaluator.Evaluate(loaded.Decoder, text, 20, reference: simulated);
        Assert.Equal(0, result.Divergence);
        Assert.InRange(Evaluator.Evaluate(loaded.Decoder, text, 20, reference: source.Decoder).Divergence!.Value, 1e-6, 0.1);
    }
}

/// <summary>Rotated copies of models in memory.</summary>
internal static class RotatedLlama
{
    public static DecoderModel Of(LoadedModel source, long seed)
    {
        var config = DecoderConfig.Parse(source.Definition.Untie(source.ConfigJson), "config.json");
        var model = new DecoderModel(config);
        using var rotation = new DecoderRotation(config, seed);
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var from = source.Llama().named_parameters().ToDictionary(item => item.name, item => (Tensor)item.parameter);
        var embedding = from["model.embed_tokens.weight"];
        var ones = config.NormsAddOne ? 1 : 0;
        foreach (var (name, parameter) in model.named_parameters())
        {
            switch (name)
            {
                case "model.embed_tokens.weight":
                    parameter.copy_(rotation.RotateEmbedding(embedding));
                    break;
                case "lm_head.weight":
                    parameter.copy_(rotation.RotateHead(from.GetValueOrDefault(name, embedding), from["model.norm.weight"] + ones));
                    break;
                case "model.norm.weight":
                    parameter.fill_(1 - ones);
                    break;
                default:
                    parameter.copy_(from[name]);
                    break;
            }
        }

        foreach (var block in model.Blocks)
        {
            rotation.Apply(block, online: true);
        }

        return model;
    }

    public static QuantizedModel RoundToNearest(DecoderModel model, LoadedModel source, Recipe recipe)
    {
        using var scope = NewDisposeScope();
        QuantizedLayer[] layers =
        [
            .. from linear in model.Linears
               let rule = recipe.RuleFor(linear.Key)
               where rule is not null
               let weight = Algorithms.RoundToNearest.Quantize(
                   Bits.Of(linear.Value.Weight), linear.Value.OutFeatures, linear.Value.InFeatures, rule.Weights!, rule.Range)
               select new QuantizedLayer(linear.Key, weight, rule.Activations is { } input ? new ActivationQuantization(input.Scheme, null) : null)
               {
                   InputTransform = linear.Value.InputTransform is null ? InputTransform.None : InputTransform.Hadamard,
               },
        ];
        var quantized = layers.Select(layer => layer.Name + ".weight").ToHashSet();
        var floats = model.named_parameters().Where(item => !quantized.Contains(item.name))
            .Select(item => new FloatTensor(item.name, [.. item.parameter.shape.Select(size => (int)size)], Bits.Of(item.parameter), ElementType.F32));
        return new QuantizedModel(model.Config.TiedHead ? source.ConfigJson : source.Definition.Untie(source.ConfigJson), layers, [.. floats], recipe,
            new Provenance("0", "ptq", 1, source.Hashes, new Dictionary<string, double>()), source.Folder);
    }
}

public sealed class LlamaRotationRealModelTests
{
    [Fact]
    public void StoriesRotatedInFloatPredictsTheSame()
    {
        using var source = Texts.Stories();
        using var rotated = RotatedLlama.Of(source, seed: 1);
        Assert.Equal(3.788, Evaluator.Evaluate(rotated, Texts.TinyStories("valid.txt", source), 512, 20).Perplexity, 1e-3);
    }

    [Theory]
    [InlineData("w4a8-g32")]
    [InlineData("w4a4-g32")]
    public void StoriesWithFewBitsLosesLessWhenRotated(string preset)
    {
        using var source = Texts.Stories();
        using var rotated = RotatedLlama.Of(source, seed: 1);
        var text = Texts.TinyStories("valid.txt", source);
        double Perplexity(DecoderModel model)
        {
            using var simulated = (IDecoder)LoadedModel.Simulate(RotatedLlama.RoundToNearest(model, source, RecipePresets.Parse(preset)), preset);
            return Evaluator.Evaluate(simulated, text, 512, 20).Perplexity;
        }

        Assert.InRange(Perplexity(rotated), 3.7, Perplexity(source.Llama()) * 0.99);
    }
}
