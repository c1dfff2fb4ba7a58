using Nibble.Formats.CompressedTensors;
using Nibble.Files;
using Nibble.Artifacts;
using Nibble.Recipes;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Models;

public sealed class LoadedModelTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData(ElementType.F32)]
    [InlineData(ElementType.F16)]
    [InlineData(ElementType.BF16)]
    public void OpenReadsACheckpoint(ElementType type)
    {
        var tiny = new TinyLlama { StoredAs = type };
        using var loaded = tiny.Open(folder);
        Assert.Equal("tiny", loaded.Name);
        Assert.Null(loaded.Quantized);
        Assert.Equal(tiny.ConfigJson, loaded.ConfigJson);
        Assert.Equal((TinyLlama.Bos, TinyLlama.Eos, TinyLlama.Vocabulary), (loaded.Tokenizer.BosId, loaded.Tokenizer.EosId, loaded.Tokenizer.VocabularySize));
        Assert.All(loaded.StoredAs.Values, stored => Assert.Equal(type, stored));
        Assert.Equal(["config.json", "model.safetensors", "tokenizer.json"], loaded.Hashes.Keys.Order(StringComparer.Ordinal));
        Assert.Equal(new FileInfo(Path.Combine(loaded.Folder, "model.safetensors")).Length, loaded.Bytes);
        var expected = tiny.Tensors();
        Assert.All(loaded.Llama().named_parameters(), item => Bits.Equal(expected[item.name].Values, item.parameter));
        loaded.RequireFloat();
    }

    [Fact]
    public void OpenIgnoresWhatOldCheckpointsCarryAlong()
    {
        var path = new TinyLlama { Tied = true }.Write(folder.File("old"), tensors =>
        {
            tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"];
            tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = ([4], new float[4]);
        });
        using var loaded = LoadedModel.Open(path);
        Assert.DoesNotContain("lm_head.weight", loaded.StoredAs.Keys);
    }

    [Fact]
    public void OpenRefusesACheckpointThatIsNotWhatItsConfigSays()
    {
        Assert.Contains(
            "the checkpoint lacks the tensor 'model.layers.1.mlp.up_proj.weight', which a model of type 'llama' has",
            Refusal(new TinyLlama(), tensors => tensors.Remove("model.layers.1.mlp.up_proj.weight")),
            StringComparison.Ordinal);
        Assert.Contains(
            "tensor 'model.norm.weight' has shape [15], expected [16] from config.json",
            Refusal(new TinyLlama(), tensors => tensors["model.norm.weight"] = ([15], new float[15])),
            StringComparison.Ordinal);
        Assert.Contains(
            "tensor 'model.layers.0.mlp.down_proj.weight' has shape [20, 16], expected [16, 20]",
            Refusal(new TinyLlama(), tensors => tensors["model.layers.0.mlp.down_proj.weight"] = ([20, 16], new float[320])),
            StringComparison.Ordinal);
        Assert.Contains(
            "holds the tensor 'model.layers.2.extra', which a model of type 'llama' with this config.json does not use",
            Refusal(new TinyLlama(), tensors => tensors["model.layers.2.extra"] = ([1], new float[1])),
            StringComparison.Ordinal);
        Assert.Contains("model_type is 'gpt2', which is not supported", Refusal(new TinyLlama { Type = "gpt2" }, tensors => { }), StringComparison.Ordinal);

        string Refusal(TinyLlama tiny, Action<SortedDictionary<string, (long[] Shape, float[] Values)>> change)
        {
            var path = folder.File(Guid.NewGuid().ToString());
            Directory.CreateDirectory(path);

            // The tensors of a family that is not known are those of the one that is.
            new TinyLlama().Write(path, change);
            File.WriteAllText(Path.Combine(path, "config.json"), tiny.ConfigJson);
            return Assert.Throws<NibbleException>(() => LoadedModel.Open(path)).Message;
        }
    }

    [Fact]
    public void OpenOfAnArtifactIsQuantizedAlready()
    {
        var artifact = folder.File("artifact");
        using (var source = new TinyLlama().Open(folder))
        {
            QuantizedModelFile.Save(PostTrainingQuantizer.Run(source, RecipePresets.Parse("w4a8-g8"), null, seed: 3), artifact);
        }

        using var loaded = LoadedModel.Open(artifact);
        Assert.Equal(3, loaded.Quantized!.Provenance.Seed);
        Assert.All(loaded.Llama().Linears, linear => Assert.Equal(linear.Key != "lm_head", linear.Value.InputQuantizer is not null));
        Assert.Equal(QuantizedModelFile.TensorBytes(artifact), loaded.Bytes);
        Assert.Contains("written by ptq with the recipe 'w4a8-g8', expected a float checkpoint", Assert.Throws<NibbleException>(loaded.RequireFloat).Message,
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("w16a16-kv8")]
    [InlineData("w16a16-kv4c")]
    public void ArtifactWithAQuantizedCacheComputesWhatTheModelInMemoryComputes(string preset)
    {
        using var source = new TinyLlama().Open(folder);
        var text = Texts.Random(100);
        var model = CacheModel.Make(source, RecipePresets.Parse(preset), text, 2, 16);
        QuantizedModelFile.Save(model, folder.File("artifact"));
        using var simulated = (IDecoder)LoadedModel.Simulate(model, "memory");
        using var loaded = LoadedModel.Open(folder.File("artifact"));
        Assert.Equal(0, Evaluator.Evaluate(simulated, text, 20, reference: loaded.Decoder).Divergence);
        Assert.NotEqual(0, Evaluator.Evaluate(source.Decoder, text, 20, reference: loaded.Decoder).Divergence);

        // Generation caches what evaluation computes with.
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        using var cache = new KeyValueCache(TinyLlama.Layers);
        var tokens = text.Window(0, 12);
        var whole = loaded.Llama().forward(tensor(tokens, 1, 12))[0];
        for (var i = 0; i < tokens.Length; i++)
        {
            var difference = (loaded.Llama().Logits(tensor(tokens[i..(i + 1)], 1, 1), cache)[0, 0] - whole[i]).abs().max().item<float>();
            Assert.InRange(difference, 0, 1e-4f);
        }
    }

    [Fact]
    public void SimulateRefusesParametersOfKeysThatAreNotTheConfigs()
    {
        using var source = new TinyLlama().Open(folder);
        var model = CacheModel.Make(source, RecipePresets.Parse("w16a16-kv4c"), Texts.Random(100), 2, 16);
        var block = model.StaticKeys[1];
        Assert.Contains("the key parameters of 'model.layers.1.self_attn' are missing", Refusal(model with { StaticKeys = [model.StaticKeys[0]] }),
            StringComparison.Ordinal);
        Assert.Contains("key parameters of 'model.layers.1.self_attn' are [4, 4], expected [2, 8]",
            Refusal(model with { StaticKeys = [model.StaticKeys[0], block with { Heads = 4 }] }), StringComparison.Ordinal);
        Assert.Contains("key parameters of 'stray', which", Refusal(model with { StaticKeys = [.. model.StaticKeys, block with { Name = "stray" }] }),
            StringComparison.Ordinal);

        static string Refusal(QuantizedModel model) => Assert.Throws<NibbleException>(() => LoadedModel.Simulate(model, "artifact").Dispose()).Message;
    }

    [Fact]
    public void SimulateRefusesTensorsThatAreNotTheConfigs()
    {
        using var source = new TinyLlama().Open(folder);
        var model = PostTrainingQuantizer.Run(source, RecipePresets.Parse("w4a16-g8"), null, seed: 0);
        using (LoadedModel.Simulate(model, "whole"))
        {
        }

        var layer = model.Layers[0];
        var norm = model.FloatTensors.Single(tensor => tensor.Name == "model.norm.weight");
        Assert.Contains("tensor 'model.norm.weight' is missing", Refusal(model with { FloatTensors = [.. model.FloatTensors.Where(tensor => tensor != norm)] }),
            StringComparison.Ordinal);
        Assert.Contains("tensor 'model.norm.weight' is missing or does not have the shape [16]",
            Refusal(model with { FloatTensors = [.. model.FloatTensors.Select(tensor => tensor == norm ? norm with { Shape = [4, 4] } : tensor)] }),
            StringComparison.Ordinal);
        Assert.Contains($"tensor '{layer.Name}.weight' is missing", Refusal(model with { Layers = [.. model.Layers.Skip(1)] }), StringComparison.Ordinal);
        Assert.Contains($"layer '{layer.Name}' is [16, 20], expected [32, 16]",
            Refusal(model with
            {
                Layers = [
            layer with { Weight = model.Layers.Single(other => other.Name == "model.layers.0.mlp.down_proj").Weight }, .. model.Layers.Skip(1)]
            }),
            StringComparison.Ordinal);
        Assert.Contains("holds 'stray', which", Refusal(model with { Layers = [.. model.Layers, layer with { Name = "stray" }] }), StringComparison.Ordinal);
        Assert.Contains("holds 'stray.weight', which", Refusal(model with { FloatTensors = [.. model.FloatTensors, norm with { Name = "stray.weight" }] }),
            StringComparison.Ordinal);

        static string Refusal(QuantizedModel model) => Assert.Throws<NibbleException>(() => LoadedModel.Simulate(model, "artifact").Dispose()).Message;
    }
}
