using Nibble.Torch.Modules;
using Nibble.Torch.Data;
using Nibble.Files;
using Nibble.Tests.Shared;
using Nibble.Torch.Models;
using Nibble.Torch.Tasks;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Ptq;
using Nibble.Torch.Qat;
using Nibble.Torch.Tests.Models.Bert;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Torch.Tests.Ptq;

/// <summary>Every run ends with what it has done with each layer, and with what the user should know of the result.</summary>
public sealed class RunSummaryTests : IDisposable
{
    private const string Embedding = "model.embed_tokens";

    private static readonly KeptLayer[] Kept = [new("lm_head", "the rule 'lm_head' keeps it"), new(Embedding, "decoder embeddings stay in float")];

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void PostTrainingWarnsBeforeItBeginsAndSaysInTheEndWhatItDid()
    {
        var recipe = RecipePresets.Parse("w4a16-g8-gptq") with { Ptq = new PtqSettings { Windows = 3, Asymmetry = 0.5 } };
        var (told, begun) = (new List<string>(), int.MaxValue);
        var options = new PtqRequest(new TinyLlama { MaxPositions = 8 }.Write(folder.File("tiny")), recipe, folder.File("out"))
        {
            Data = Texts.Random(16),
            Logger = new ListLogger(told),
        };
        var estimate = PostTrainingQuantizer.Estimate(options);
        Assert.Empty(told);
        var result = PostTrainingQuantizer.Run(options, new Told(_ => begun = Math.Min(begun, told.Count)));

        string[] expected =
        [
            "groups of 8 do not divide the 20 columns of model.layers.0.mlp.down_proj, model.layers.1.mlp.down_proj: the last group of each row holds 4, and "
                + "other engines refuse such layers",
            "the calibration data fills 2 of the 3 windows that the recipe requests",
            "gptq of model.layers.0.self_attn.o_proj, model.layers.0.mlp.down_proj, model.layers.1.self_attn.o_proj and 1 more sees 16 tokens for up to 32 "
                + "columns and can be worse than "
                + "round to nearest; calibrate on at least 32 tokens, preferably ten times as many",
            "the setting ptq.asymmetry has no effect: only gptaq uses it",
        ];
        Assert.Equal(expected, result.Summary.Warnings);
        Assert.Equal(expected, told);
        Assert.Equal(expected.Length, begun);
        Assert.Equal(Kept, result.Summary.Kept);
        Assert.Equal(14, result.Summary.Quantized.Count);
        Assert.All(result.Summary.Quantized, layer =>
            Assert.Equal(("int4 asymmetric per group 8", null, "gptq"), (layer.Weights, layer.Activations, layer.Algorithms)));
        Assert.Equal(result.Summary.Quantized, estimate.Summary.Quantized);
        Assert.Equal(result.Summary.Kept, estimate.Summary.Kept);
        Assert.Equal(expected, estimate.Summary.Warnings);
    }

    [Fact]
    public void PostTrainingRepeatsInTheEndWhatItWarnedOfMeanwhile()
    {
        var told = new List<string>();
        var options = new PtqRequest(new TinyLlama { Type = "qwen2" }.Write(folder.File("tiny")), RecipePresets.Parse("w4a16-g4-debias"), folder.File("out"))
        {
            Data = Texts.Random(4200),
            Logger = new ListLogger(told),
        };
        var result = PostTrainingQuantizer.Run(options);
        Assert.Contains("model.layers.1.mlp.down_proj has no bias to correct", told);
        Assert.Equal(told, result.Summary.Warnings);
    }

    [Fact]
    public void CalibrationDataThatNothingLooksAtAreToldButNotThoseOfALargerRun()
    {
        const string Expected = "the calibration data is not used: the recipe has nothing to calibrate";
        using var source = new TinyLlama().Open(folder);
        var recipe = RecipePresets.Parse("w4a16-g4");
        var options = new PtqRequest(source.Folder, recipe, folder.File("out")) { Data = Texts.Random(300) };
        Assert.Equal([Expected], PostTrainingQuantizer.Estimate(options).Summary.Warnings);
        Assert.Equal([Expected], PostTrainingQuantizer.Run(options).Summary.Warnings);
        Assert.Empty(PostTrainingQuantizer.Run(source, recipe, Texts.Random(300), seed: 1).Summary!.Warnings);
    }

    [Fact]
    public void ResultsThatAreLargerThanTheModelSaySo()
    {
        var options = new PtqRequest(
            new TinyLlama { StoredAs = ElementType.BF16 }.Write(folder.File("tiny")),
            new Recipe("fine", [new RecipeRule("*", new QuantizationScheme(8, symmetric: false, Granularity.Group(2)))]),
            folder.File("out"));
        var result = PostTrainingQuantizer.Run(options);
        Assert.True(result.Bytes > result.SourceBytes);
        Assert.StartsWith("the result is not smaller than its source", Assert.Single(result.Summary.Warnings), StringComparison.Ordinal);
        Assert.StartsWith("the result is not smaller than its source",
            Assert.Single(PostTrainingQuantizer.Estimate(options with { Output = folder.File("other") }).Summary.Warnings), StringComparison.Ordinal);
    }

    [Fact]
    public void TargetsSayWhichLayersTheirBlocksCannotHold()
    {
        using var source = new TinyLlama().Open(folder);
        var target = RecipeTarget.Parse("gguf:q4_0");
        var recipe = target.Apply(null, [.. source.Llama().Linears.Select(linear => (linear.Key, (int)linear.Value.Weight.shape[1]))]);
        var result = PostTrainingQuantizer.Run(new PtqRequest(source.Folder, recipe, folder.File("out")) { Target = target });
        Assert.Equal(["model.layers.0.self_attn.o_proj", "model.layers.1.self_attn.o_proj"], result.Summary.Quantized.Select(layer => layer.Name));
        Assert.Contains(new KeptLayer("model.layers.0.mlp.down_proj", "rows of 20 do not divide into blocks of gguf:q4_0, which hold 32"), result.Summary.Kept);
        Assert.Equal(13, result.Summary.Kept.Count(layer => layer.Reason.Contains("do not divide into blocks of gguf:q4_0", StringComparison.Ordinal)));
    }

    [Fact]
    public void TrainingSaysWhatItDidAndWhatItsStartWarnsOf()
    {
        var settings = new QatSettings { Steps = 6, BatchSize = 2, SequenceLength = 8, Start = WeightAlgorithms.Parse(["gptq"]), AdapterRank = 3 };
        var preset = RecipePresets.Parse("w4a16-g4");
        var recipe = new Recipe("mine", [preset.Rules[0], new RecipeRule("nothing", Weights: null), preset.Rules[1]]) { Ptq = new PtqSettings { Windows = 1 } };
        using var source = new TinyLlama { MaxPositions = 8 }.Open(folder);
        var told = new List<string>();
        var result = QatRun.Run(new QatRequest(source, recipe, settings, Texts.Random(9), folder.File("out")) { Logger = new ListLogger(told) });
        var summary = result.Artifact.Summary;
        Assert.Equal(Kept, summary.Kept);
        Assert.Equal(14, summary.Quantized.Count);
        Assert.All(summary.Quantized, layer => Assert.Equal("qat", layer.Algorithms));
        Assert.Collection(
            summary.Warnings,
            warning => Assert.StartsWith("the rule 'nothing' matches none of the 15 layers and has no effect", warning, StringComparison.Ordinal),
            warning => Assert.StartsWith("gptq of model.layers.0.self_attn.q_proj, ", warning, StringComparison.Ordinal),
            warning => Assert.StartsWith("the setting qat.adapterRank has no effect", warning, StringComparison.Ordinal),
            warning => Assert.StartsWith("training passes over its data about 11 times", warning, StringComparison.Ordinal));
        Assert.Equal(summary.Warnings, told);
    }

    [Fact]
    public void ClassifiersSayWhatStaysFloat()
    {
        using var classifier = LoadedModel.Open(new TinyBert().Write(folder.File("bert")));
        var data = new Classification().Read(folder.Write("texts.tsv", "good film\t2\nbad films\t0\n"), classifier, new ReadOptions());
        var summary = PostTrainingQuantizer.Run(classifier, RecipePresets.Parse("w8a8-static"), data, seed: 1).Summary!;
        Assert.Equal(classifier.Bert().Linears.Select(linear => linear.Key).Order(StringComparer.Ordinal), summary.Quantized.Select(layer => layer.Name)
            .Order(StringComparer.Ordinal));
        Assert.All(summary.Quantized, layer => Assert.StartsWith("int8 ", layer.Activations, StringComparison.Ordinal));
        Assert.Equal(["word", "position", "token_type"], summary.Kept.Select(layer => layer.Name["bert.embeddings.".Length..^"_embeddings".Length]));
        Assert.All(summary.Kept, layer => Assert.Equal("embedding tables stay in float unless a rule names embeddings", layer.Reason));
        Assert.Empty(summary.Warnings);

        using var third = LoadedModel.Open(folder.File("bert"));
        Assert.Equal(["the calibration data is not used: the recipe has nothing to calibrate"],
            PostTrainingQuantizer.Run(new PtqRequest(third.Folder, RecipePresets.Parse("w8a8"), folder.File("idle")) { Data = data }).Summary.Warnings);

        using var again = LoadedModel.Open(folder.File("bert"));
        var scheme = new QuantizationScheme(8, symmetric: true, Granularity.Channel);
        summary = PostTrainingQuantizer.Run(again, new Recipe("tables", [new RecipeRule("*word_embeddings", scheme), new RecipeRule("*.encoder.*", scheme)]),
            null, seed: 1).Summary!;
        Assert.Contains(new SummarizedLayer("bert.embeddings.word_embeddings", "int8 symmetric per channel", null, "rtn"), summary.Quantized);
        Assert.Contains(new KeptLayer("bert.embeddings.position_embeddings", "no rule matches it"), summary.Kept);
        Assert.Empty(summary.Warnings);
    }

    [Fact]
    public void ModulesSayWhatWasDone()
    {
        var scheme = new QuantizationScheme(4, symmetric: true, Granularity.Group(8));
        var recipe = new Recipe("mine", [new RecipeRule("conv1", scheme), new RecipeRule("conv9", scheme), new RecipeRule("features.*", scheme)]);
        using var module = new SmallCnn();
        var summary = ModuleQuantizer.Run(module, recipe, [], seed: 1).Summary!;
        Check(summary, "rtn");
        using var trained = new SmallCnn();
        var prepared = QuantizationAware.Prepare(trained, recipe);
        Check(prepared.Summary, "qat");
        trained.eval();
        Assert.Same(prepared.Summary, prepared.Convert(seed: 1).Summary);

        static void Check(RunSummary summary, string algorithms)
        {
            Assert.Equal(["conv1", "features.depthwise", "features.inner.1"], summary.Quantized.Select(layer => layer.Name));
            Assert.All(summary.Quantized, layer => Assert.Equal(algorithms, layer.Algorithms));
            Assert.Equal(["downsample.0", "fc"], summary.Kept.Select(layer => layer.Name));
            Assert.StartsWith("the rule 'conv9' matches none of the 5 layers", summary.Warnings[0], StringComparison.Ordinal);
            Assert.Contains(summary.Warnings, warning => warning.StartsWith("groups of 8 do not divide the 18 columns of conv1", StringComparison.Ordinal));
        }
    }
}
