using Nibble.Formats.CompressedTensors;
using Nibble.Files;
using Nibble.Models.Decoders;
using System.Text.Json.Nodes;
using Nibble.Artifacts;
using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using Nibble.Torch.Models.Decoders;
using Nibble.Torch.Ptq;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Ptq;

/// <summary>Whole runs on a tiny model: each algorithm, what recipes can say, and estimates.</summary>
public sealed class QuantizedTinyLlamaTests : IDisposable
{
    private static readonly TokenizedText Text = Texts.Random(4200);

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("w4a16-g8-importance")]
    [InlineData("w4a16-g8-hqq")]
    [InlineData("w4a16-g8-gptq")]
    [InlineData("w4a16-g8-gptaq")]
    [InlineData("w4a16-g8-awq")]
    [InlineData("w8a8-smoothquant")]
    [InlineData("w4a8-g8-smoothquant-gptq-debias")]
    [InlineData("w4a8-g8-rotated-gptaq")]
    public void AlgorithmsGiveTheSameBytesTwiceCloseToTheFloatModel(string preset)
    {
        var recipe = RecipePresets.Parse(preset);
        var one = Run(new TinyLlama(), recipe, "one");
        Run(new TinyLlama(), recipe, "other");
        Assert.Equal(TemporaryFolder.Contents(folder.File("one")), TemporaryFolder.Contents(folder.File("other")));
        Assert.Equal(14, one.Layers.Count);
        Assert.Equal(new TinyLlama().Config.LayersOf(0).Select(layer => layer.Name), one.Layers.Take(7).Select(layer => layer.Name));
        Assert.All(one.Layers, layer => Assert.Equal(recipe.Rules[^1].Weights, layer.Weight.Scheme));
        Assert.InRange(Score("one").Divergence!.Value, 1e-6, 0.1);
        Assert.Equal(recipe.Rules[^1].Algorithms.NeedsData ? "64 windows of 64 tokens of random" : null, one.Provenance.Calibration);
    }

    [Theory]
    [InlineData("importance")]
    [InlineData("gptq")]
    [InlineData("gptaq")]
    [InlineData("awq")]
    public void AlgorithmsThatLookAtActivationsBeatRoundToNearest(string algorithm)
    {
        Run(new TinyLlama(), RecipePresets.Parse("w3a16-g8"), "plain");
        Run(new TinyLlama(), RecipePresets.Parse($"w3a16-g8-{algorithm}"), "better");
        Assert.True(Score("better").Divergence < Score("plain").Divergence);
    }

    [Fact]
    public void ActivationsOnDiskGiveTheSameBytesAsInMemory()
    {
        var recipe = RecipePresets.Parse("w3a8-g8-static-gptaq");
        Run(new TinyLlama(), recipe, "memory");
        Run(new TinyLlama(), recipe, "disk", options => options with { ActivationMemory = 0 });
        Assert.Equal(TemporaryFolder.Contents(folder.File("memory")), TemporaryFolder.Contents(folder.File("disk")));
    }

    [Fact]
    public void ThreadsArePartOfTheJob()
    {
        using var cancellation = new CancellationTokenSource();
        var tiny = new TinyLlama();
        var options = Options(tiny, RecipePresets.Parse("w4a16-g8"), "out");
        Assert.Throws<OperationCanceledException>(() => PostTrainingQuantizer.Run(options, new Told(_ => cancellation.Cancel()), cancellation.Token));
        set_num_threads(2);
        try
        {
            Assert.Contains("it differs in threads.", Assert.Throws<NibbleException>(() => PostTrainingQuantizer.Run(options)).Message,
                StringComparison.Ordinal);
        }
        finally
        {
            set_num_threads(1);
        }

        PostTrainingQuantizer.Run(options);
        Assert.Equal(["out", "tiny"], Directory.EnumerateFileSystemEntries(folder.Path).Select(Path.GetFileName).Order());
    }

    [Theory]
    [InlineData("qwen2", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")]
    [InlineData("llama", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")]
    public void DebiasTakesTheMeanErrorOutOfTheOutputs(string type, params string[] names)
    {
        var tiny = new TinyLlama { Type = type };
        var (plain, corrected) = (RecipePresets.Parse("w2a16-g8"), RecipePresets.Parse("w2a16-g8-debias"));
        Run(tiny, plain, "plain");
        Run(tiny, corrected, "corrected");
        using var source = tiny.Open(folder);
        using var before = LoadedModel.Open(folder.File("plain"));
        using var after = LoadedModel.Open(folder.File("corrected"));
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var tokens = tensor(Enumerable.Range(0, 64).SelectMany(window => Text.Window(window * 64, 64)).ToArray(), 64, 64);
        var embedding = source.Llama().named_parameters().Single(item => item.name == DecoderConfig.EmbeddingName).parameter;
        var x = source.Llama().Blocks[0].Stages[DecoderBlock.AttentionInput]
            .Trace(new BlockInput(embedding.index_select(0, tokens.reshape(-1)).view(-1, 64, TinyLlama.Hidden))).Input;
        foreach (var name in names)
        {
            Assert.True(MeanError(before, name) > 1e-2);
            Assert.Equal(0, MeanError(after, name), 1e-5);
        }

        double MeanError(LoadedModel model, string name) =>
            (Layer(model, name) - Layer(source, name)).mean([0L, 1L]).abs().max().item<float>();

        Tensor Layer(LoadedModel model, string name) => model.Llama().Linears.Single(linear => linear.Key == "model.layers.0." + name).Value.forward(x);
    }

    [Fact]
    public void DebiasGivesLlamaBiases()
    {
        var model = Run(new TinyLlama { StoredAs = ElementType.BF16 }, RecipePresets.Parse("w4a16-g8-debias"), "out");
        var config = JsonNode.Parse(File.ReadAllText(Path.Combine(folder.File("out"), "config.json")))!;
        Assert.True((bool)config["attention_bias"]! && (bool)config["mlp_bias"]!);
        var biases = model.FloatTensors.Where(tensor => tensor.Name.EndsWith(".bias", StringComparison.Ordinal)).ToList();
        Assert.Equal(14, biases.Count);
        Assert.All(biases, bias => Assert.Equal(ElementType.BF16, bias.StoredAs));
        Assert.All(biases, bias => Assert.Contains(bias.Values, value => value != 0));
        Assert.InRange(Score("out").Divergence!.Value, 1e-6, 0.1);
    }

    [Fact]
    public void DebiasWarnsOfLayersWithoutABias()
    {
        var warnings = new List<string>();
        Run(new TinyLlama { Type = "qwen2" }, RecipePresets.Parse("w4a16-g8-debias"), "out", options => options with { Warn = warnings.Add });
        Assert.Equal(8, warnings.Count(warning => warning.EndsWith(" has no bias to correct", StringComparison.Ordinal)));
        Assert.Contains("model.layers.1.mlp.down_proj has no bias to correct", warnings);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void RotationLeavesWhatIsComputed(bool tied)
    {
        var tiny = new TinyLlama { Tied = tied };
        var model = Run(tiny, RecipePresets.Parse("w8a16-rotated"), "out");
        Assert.Equal(14, model.Layers.Count);
        Assert.Contains(model.FloatTensors, tensor => tensor.Name == "lm_head.weight");
        Assert.Contains("\"tie_word_embeddings\":false", model.ConfigJson.Replace(" ", string.Empty, StringComparison.Ordinal), StringComparison.Ordinal);
        Assert.InRange(Score("out").Divergence!.Value, 1e-8, 1e-3);
        RequireNearLogits("out", 0.02);

        // Not by leaving the weights alone.
        var query = model.Layers[0].Weight.Dequantize();
        Assert.True(query.Zip(tiny.Tensors()[model.Layers[0].Name + ".weight"].Values).Max(pair => Math.Abs(pair.First - pair.Second)) > 0.1);
    }

    [Theory]
    [InlineData("w8a16-g8-gptaq", false, true)]
    [InlineData("w8a16-g8-gptaq", true, false)]
    [InlineData("w8a16-g8-rotated-gptq", true, true)]
    public void HeadIsQuantizedByARule(string preset, bool tied, bool ownHead)
    {
        var recipe = RecipePresets.Parse(preset);
        recipe = recipe with { Rules = [recipe.Rules[^1]] };
        var model = Run(new TinyLlama { Tied = tied }, recipe, "out");

        // A tied head is the embedding, which stays float; rotation gives the head a matrix of its own.
        Assert.Equal(ownHead ? 15 : 14, model.Layers.Count);
        Assert.Equal(ownHead, model.Layers[^1].Name == "lm_head");
        Assert.DoesNotContain(model.FloatTensors, tensor => tensor.Name == "lm_head.weight");
        RequireNearLogits("out", 0.02);
    }

    [Theory]
    [InlineData("w16a16-kv8", 0, 1e-3)]
    [InlineData("w4a16-g8-kv4c", 14, 0.2)]
    public void CacheIsQuantized(string preset, int layers, double limit)
    {
        var recipe = RecipePresets.Parse(preset);
        var model = Run(new TinyLlama(), recipe, "out");
        Assert.Equal(layers, model.Layers.Count);
        Assert.Equal(preset.EndsWith('c') ? ["model.layers.0.self_attn", "model.layers.1.self_attn"] : [], model.StaticKeys.Select(keys => keys.Name));
        Assert.Equal(recipe.KeyValueCache, model.Recipe.KeyValueCache);
        Assert.InRange(Score("out").Divergence!.Value, 1e-9, limit);
    }

    [Fact]
    public void NamedLayersStayFloat()
    {
        var rest = RecipePresets.Parse("w4a16-g8-gptq");
        var recipe = rest with { Rules = [new RecipeRule("model.layers.0.*", Weights: null), new RecipeRule("*.down_proj", Weights: null), .. rest.Rules] };
        var tiny = new TinyLlama();
        var model = Run(tiny, recipe, "out");
        Assert.Equal(6, model.Layers.Count);
        Assert.All(model.Layers, layer => Assert.StartsWith("model.layers.1.", layer.Name, StringComparison.Ordinal));
        var quantized = model.Layers.Select(layer => layer.Name + ".weight").ToHashSet();
        Assert.Equal(tiny.Tensors().Keys.Where(name => !quantized.Contains(name)),
            model.FloatTensors.Select(tensor => tensor.Name).Order(StringComparer.Ordinal));
        Assert.All(model.FloatTensors, tensor => Bits.Equal(tiny.Tensors()[tensor.Name].Values, tensor.Values));
    }

    [Theory]
    [InlineData("w4a16-g8")]
    [InlineData("w3a16-g8-sym")]
    [InlineData("wta16-g8")]
    [InlineData("w8a8")]
    [InlineData("w8a8-static")]
    [InlineData("w4a8-g8-static-gptq")]
    [InlineData("w4a16-g8-gptaq-debias")]
    [InlineData("w4a8-g8-rotated")]
    [InlineData("w4a16-g8-kv4c")]
    [InlineData("w16a16-kv8")]
    public void EstimatePredictsTheBytesAndLeavesNothing(string preset)
    {
        var tiny = new TinyLlama { Tied = true, StoredAs = ElementType.F16 };
        var options = Options(tiny, RecipePresets.Parse(preset), "out");
        var estimate = PostTrainingQuantizer.Estimate(options);
        Assert.Equal(["tiny"], Directory.EnumerateFileSystemEntries(folder.Path).Select(Path.GetFileName));

        var result = PostTrainingQuantizer.Run(options);
        Assert.Equal(result.Bytes, estimate.Bytes);
        Assert.Equal(result.Layers, estimate.Layers);
        Assert.InRange(estimate.PeakBytes, 1 << 20, 1L << 40);
        Assert.InRange(estimate.DiskBytes, estimate.Bytes, 1L << 40);
        Assert.InRange(estimate.Seconds, 1e-3, 1000);
    }

    [Fact]
    public void EstimateCountsGroupIndexesAndTheHead()
    {
        var recipe = RecipePresets.Parse("w4a16-g8-gptq");
        recipe = recipe with { Rules = [recipe.Rules[^1]], Ptq = new PtqSettings { ActivationOrder = ActivationOrder.Group } };
        var options = Options(new TinyLlama(), recipe, "out");
        Assert.Equal(PostTrainingQuantizer.Estimate(options).Bytes, PostTrainingQuantizer.Run(options).Bytes);
        Assert.All(QuantizedModelFile.Load(options.Output).Layers, layer => Assert.NotNull(layer.Weight.GroupIndex));
    }

    [Theory]
    [InlineData("cuda", "the device cuda needs a CUDA build of libtorch")]
    [InlineData("tpu", "there is no device 'tpu', expected cpu, cuda or cuda:N")]
    [InlineData("cuda:x", "there is no device 'cuda:x'")]
    public void DeviceThatIsNotThereIsRefused(string device, string complaint)
    {
        Assert.SkipWhen(device == "cuda" && cuda_is_available(), "this machine has the device");
        var options = Options(new TinyLlama(), RecipePresets.Parse("w8a8"), "out") with { Device = device };
        Assert.StartsWith(complaint, Assert.Throws<NibbleException>(() => PostTrainingQuantizer.Run(options)).Message, StringComparison.Ordinal);
        Assert.Equal(["tiny"], Directory.EnumerateFileSystemEntries(folder.Path).Select(Path.GetFileName));
    }

    [Fact]
    public void FaultLeavesNoJobWhichCouldOnlyFailAgain()
    {
        new TinyLlama().Write(folder.File("tiny"), tensors => tensors["model.layers.1.mlp.up_proj.weight"].Values[3] = 3e38f);
        var options = Options(new TinyLlama(), RecipePresets.Parse("w4a16-g8-importance"), "out");
        Assert.Contains("model.layers.1.mlp.up_proj", Assert.Throws<NibbleException>(() => PostTrainingQuantizer.Run(options)).Message,
            StringComparison.Ordinal);
        Assert.Equal(["tiny"], Directory.EnumerateFileSystemEntries(folder.Path).Select(Path.GetFileName));
    }

    [Fact]
    public void OutputThatExistsIsRefused()
    {
        var options = Options(new TinyLlama(), RecipePresets.Parse("w8a8"), "tiny");
        Assert.Contains("the output folder exists already", Assert.Throws<NibbleException>(() => PostTrainingQuantizer.Run(options)).Message,
            StringComparison.Ordinal);
        Assert.False(Directory.Exists(folder.File("tiny.job")));
    }

    private PtqRequest Options(TinyLlama tiny, Recipe recipe, string name)
    {
        var model = folder.File("tiny");
        return new PtqRequest(Directory.Exists(model) ? model : tiny.Write(model), recipe, folder.File(name)) { Data = Text, Seed = 5 };
    }

    private QuantizedModel Run(TinyLlama tiny, Recipe recipe, string name, Func<PtqRequest, PtqRequest>? change = null)
    {
        var options = Options(tiny, recipe, name);
        PostTrainingQuantizer.Run(change is null ? options : change(options));
        return QuantizedModelFile.Load(options.Output);
    }

    /// <summary>Compares an artifact with the model that it was made from.</summary>
    private EvaluationResult Score(string name)
    {
        using var source = LoadedModel.Open(folder.File("tiny"));
        using var artifact = LoadedModel.Open(folder.File(name));
        return Evaluator.Evaluate(artifact.Decoder, Text, 64, 8, source.Decoder);
    }

    private void RequireNearLogits(string name, double share)
    {
        using var source = LoadedModel.Open(folder.File("tiny"));
        using var artifact = LoadedModel.Open(folder.File(name));
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var tokens = tensor(Text.Window(640, 64), 1, 64);
        var expected = source.Llama().forward(tokens);
        Assert.InRange((artifact.Llama().forward(tokens) - expected).norm().item<float>() / expected.norm().item<float>(), 1e-6, share);
    }
}
