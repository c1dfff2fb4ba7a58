using Nibble.Formats.CompressedTensors;
using System.Text.Json.Nodes;
using Nibble.Algorithms;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;
using Nibble.Torch.Qat;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Torch.Tests.Models;

/// <summary>A rule that names the head of a model whose head is its embedding is followed: the head gets a matrix of its own.</summary>
public sealed class TiedHeadTests : IDisposable
{
    private const string Head = "lm_head";
    private const string Embedding = "model.embed_tokens.weight";

    private static readonly QuantizationScheme Int8 = new(8, symmetric: true, Granularity.Channel);
    private static readonly RecipeRule All = new("*", new QuantizationScheme(4, symmetric: false, Granularity.Group(8)));
    private static readonly Recipe Named = new("named", [new RecipeRule(Head, Int8), All]);
    private static readonly TokenizedText Text = Texts.Random(2100);

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("rtn")]
    [InlineData("gptq")]
    public void AHeadThatARuleNamesIsQuantizedByItAndTheEmbeddingStays(string algorithm)
    {
        var tiny = new TinyLlama { Tied = true };
        var rules = Named.Rules.Select(rule => rule with { Algorithms = WeightAlgorithms.Parse([algorithm]) });
        var options = new PtqRequest(tiny.Write(folder.File("tiny")), Named with { Rules = [.. rules] }, folder.File("out")) { Data = Text };
        var estimate = PostTrainingQuantizer.Estimate(options);
        var result = PostTrainingQuantizer.Run(options);
        Assert.Equal((15, result.Bytes), (result.Layers, estimate.Bytes));
        Assert.Contains(new SummarizedLayer(Head, "int8 symmetric per channel", null, algorithm), result.Summary.Quantized);
        Assert.DoesNotContain(result.Summary.Kept, layer => layer.Name == Head);

        var model = QuantizedModelFile.Load(options.Output);
        var embedding = tiny.Tensors()[Embedding].Values;
        Bits.Equal(embedding, model.FloatTensors.Single(tensor => tensor.Name == Embedding).Values);
        Assert.False((bool)JsonNode.Parse(model.ConfigJson)!["tie_word_embeddings"]!);
        var head = model.Layers.Single(layer => layer.Name == Head).Weight;
        if (algorithm == "rtn")
        {
            Assert.Equal(RoundToNearest.Quantize(embedding, TinyLlama.Vocabulary, TinyLlama.Hidden, Int8).Codes, head.Codes);
        }

        using var artifact = LoadedModel.Open(options.Output);
        Assert.Equal(15, artifact.Llama().Linears.Count);
        Bits.Equal(head.Dequantize(), artifact.Llama().Linears.Single(linear => linear.Key == Head).Value.Weight);
    }

    [Theory]
    [InlineData("*")]
    [InlineData("*e*")]
    public void AHeadThatNoRuleNamesAloneStaysTheEmbedding(string pattern)
    {
        var options = new PtqRequest(new TinyLlama { Tied = true }.Write(folder.File("tiny")), new Recipe("all", [All with { Pattern = pattern }]),
            folder.File("out"));
        var result = PostTrainingQuantizer.Run(options);
        Assert.StartsWith("it shares the embedding's matrix (tie_word_embeddings)", result.Summary.Kept.Single(layer => layer.Name == Head).Reason,
            StringComparison.Ordinal);
        Assert.DoesNotContain(QuantizedModelFile.Load(options.Output).Layers, layer => layer.Name == Head);
        using var artifact = LoadedModel.Open(options.Output);
        Assert.True(artifact.Llama().Config.TiedHead);
    }

    [Theory]
    [InlineData(TrainingMode.Full)]
    [InlineData(TrainingMode.Scales)]
    [InlineData(TrainingMode.AdaptersOnNormalFloat)]
    public void TrainingTakesTheHeadAsALayerOfItsOwn(TrainingMode mode)
    {
        var path = new TinyLlama { Tied = true }.Write(folder.File("tiny"));
        var settings = new QatSettings { Steps = 2, BatchSize = 2, SequenceLength = 16, Mode = mode, AdapterRank = 4 };
        using var source = LoadedModel.OpenToTrain(path, Named with { Qat = settings });
        var trainer = new QuantizationAwareTrainer(source, Named, settings, Text, CalibrationOptions.For(source.Llama().Config), seed: 1);
        trainer.Train();
        var model = trainer.Convert();
        Assert.Equal(15, model.Layers.Count);
        Assert.Contains(model.FloatTensors, tensor => tensor.Name == Embedding);
        QuantizedModelFile.Save(model, folder.File("out"));
        using var artifact = LoadedModel.Open(folder.File("out"));
        Assert.False(artifact.Llama().Config.TiedHead);
        Assert.Equal(model.Summary!.Quantized.Select(layer => layer.Name), model.Layers.Select(layer => layer.Name));
    }

    [Fact]
    public void TrainingOfAModelThatWasOpenedTiedIsRefused()
    {
        using var source = new TinyLlama { Tied = true }.Open(folder);
        var fault = Assert.Throws<NibbleException>(
            () => new QuantizationAwareTrainer(source, Named, new QatSettings { SequenceLength = 16 }, Text, CalibrationOptions.For(source.Llama().Config),
                seed: 1));
        Assert.Contains("Open the model with LoadedModel.OpenToTrain, which gives the head its own matrix", fault.Message, StringComparison.Ordinal);
    }
}
