using Nibble.Formats.Safetensors;
using Nibble.Recipes;
using Nibble.Torch.Models;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Torch.Tests.Models.Bert;

public sealed class LoadedEncoderTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("bert")]
    [InlineData("roberta")]
    [InlineData("distilbert")]
    public void OpenReadsEveryTensorByItsName(string type)
    {
        using var loaded = new TinyBert(type).Open(folder);
        var expected = new TinyBert(type).Tensors();
        var parameters = loaded.Bert().named_parameters().ToArray();
        Assert.Equal(expected.Keys, parameters.Select(item => item.name).Order(StringComparer.Ordinal));
        Assert.All(parameters, item => Bits.Equal(expected[item.name].Values, item.parameter));
        Assert.Equal(expected.Values.Sum(tensor => tensor.Values.Length), loaded.Model.ParameterCount());
        Assert.Equal((2, 3, TinyBert.Vocabulary), (loaded.Tokenizer.BosId, loaded.Tokenizer.EosId, loaded.Tokenizer.VocabularySize));
    }

    [Theory]
    [InlineData("bert")]
    [InlineData("roberta")]
    [InlineData("distilbert")]
    public void SaveWritesWhatOpenReadsTheSameBytesEachTime(string type)
    {
        using var loaded = new TinyBert(type).Open(folder);
        loaded.Save(folder.File("saved"));
        using (var again = LoadedModel.Open(folder.File("saved")))
        {
            again.Save(folder.File("again"));
        }

        var saved = TemporaryFolder.Contents(folder.File("saved"));
        Assert.Equal(["config.json", "model.safetensors", "vocab.txt"], saved.Keys);
        Assert.Equal(saved, TemporaryFolder.Contents(folder.File("again")));
        using var file = SafetensorsFile.Open(Path.Combine(folder.File("saved"), "model.safetensors"));
        Assert.All(new TinyBert(type).Tensors(), tensor => Assert.Equal(tensor.Value.Values, file.ReadFloats(tensor.Key)));
    }

    [Theory]
    [InlineData("bert", "w8a8")]
    [InlineData("roberta", "w4a8-g8")]
    [InlineData("distilbert", "w8a8-static")]
    public void OpenSimulatesAnArtifact(string type, string recipe)
    {
        using var loaded = new TinyBert(type).Open(folder);
        var artifact = QuantizedBert.Write(loaded, RecipePresets.Parse(recipe), folder.File("artifact"));
        using var opened = LoadedModel.Open(artifact);
        Assert.Equal(recipe, opened.Quantized!.Recipe.Name);
        Assert.Equal("artifact", opened.Name);
        Assert.NotNull(opened.Tokenizer.BosId);

        // As the program itself has simulated the artifact in memory.
        using var guard = TorchSharp.torch.no_grad();
        using var scope = TorchSharp.torch.NewDisposeScope();
        using var simulated = LoadedModel.Simulate(opened.Quantized, "memory");
        var batch = QuantizedBert.Batch(loaded.Bert().Config, seed: 2);
        Bits.Equal(simulated.Compute(batch).data<float>().ToArray(), opened.Model.Compute(batch));
        Assert.NotEqual(Bits.Of(loaded.Model.Compute(batch)), Bits.Of(opened.Model.Compute(batch)));
    }

    [Fact]
    public void OpenIgnoresTheTablesOfNumbersThatOldCheckpointsCarryAlong()
    {
        var path = new TinyBert().Write(folder.File("old"), tensors =>
        {
            tensors["bert.embeddings.position_ids"] = ([1, 4], [0, 1, 2, 3]);
            tensors["bert.embeddings.token_type_ids"] = ([1, 4], new float[4]);
        });
        using var loaded = LoadedModel.Open(path);
        Assert.DoesNotContain(loaded.Bert().named_parameters(), item => item.name.EndsWith("_ids", StringComparison.Ordinal));
    }

    [Fact]
    public void OpenRefusesACheckpointThatIsNotWhatItsConfigSays()
    {
        Assert.EndsWith(
            "the checkpoint lacks the tensor 'classifier.weight', which a model of type 'bert' has",
            Refusal(new TinyBert(), tensors => tensors.Remove("classifier.weight")),
            StringComparison.Ordinal);
        Assert.EndsWith(
            "tensor 'roberta.encoder.layer.1.output.dense.weight' has shape [24, 16], expected [16, 24] from config.json",
            Refusal(new TinyBert("roberta"), tensors => tensors["roberta.encoder.layer.1.output.dense.weight"] = ([24, 16], new float[384])),
            StringComparison.Ordinal);
        Assert.EndsWith(
            "holds the tensor 'distilbert.transformer.layer.2.ffn.lin1.bias', which a model of type 'distilbert' with this config.json does not use",
            Refusal(new TinyBert("distilbert"), tensors => tensors["distilbert.transformer.layer.2.ffn.lin1.bias"] = ([1], new float[1])),
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("vocab_size", "40", "16777216", "config.json describes a model of at least 268,")]
    [InlineData("num_hidden_layers", "2", "16777216", "They belong to different models")]
    [InlineData("vocab_size", "40", "39", "the tokenizer has 40 tokens, expected at most the 39 of config.json's vocab_size")]
    [InlineData("model_type", "\"bert\"", "\"llama\"", "which a model of type 'llama' has")]
    public void OpenRefusesAConfigThatIsNotTheWeightsBeforeItMakesAModel(string key, string value, string other, string complaint)
    {
        var path = new TinyBert().Write(folder.File("other"));
        var json = new TinyBert().ConfigJson.Replace($"\"{key}\":{value}", $"\"{key}\":{other}", StringComparison.Ordinal);
        Assert.NotEqual(new TinyBert().ConfigJson, json);
        File.WriteAllText(Path.Combine(path, "config.json"), json);
        Assert.Contains(complaint, Assert.Throws<NibbleException>(() => LoadedModel.Open(path)).Message, StringComparison.Ordinal);
    }

    /// <summary>As BertModel and BertForMaskedLM are saved: the cause is said, not a tensor that happens to be missing.</summary>
    [Theory]
    [InlineData("bert", true)]
    [InlineData("roberta", false)]
    [InlineData("distilbert", true)]
    public void OpenSaysThatThereIsNoHead(string type, bool bare)
    {
        var message = Refusal(new TinyBert(type), tensors =>
        {
            foreach (var name in tensors.Keys.ToList())
            {
                var isOfBody = name.StartsWith(type + ".", StringComparison.Ordinal);
                tensors.Remove(name, out var tensor);
                if (isOfBody)
                {
                    tensors.Add(bare ? name[(type.Length + 1)..] : name, tensor);
                }
            }
        });
        Assert.Contains("this checkpoint has no classification head (classifier.*). Train a head on it first", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("bert")]
    [InlineData("distilbert")]
    public void OpenReadsNamesWithoutTheModelsPrefix(string type)
    {
        var tiny = new TinyBert(type);
        using var whole = LoadedModel.Open(tiny.Write(folder.File("whole")));
        using var bare = LoadedModel.Open(tiny.Write(folder.File("bare"), tensors =>
        {
            foreach (var name in tensors.Keys.Where(name => name.StartsWith(type + ".", StringComparison.Ordinal)).ToList())
            {
                tensors.Remove(name, out var tensor);
                tensors.Add(name[(type.Length + 1)..], tensor);
            }
        }));
        foreach (var (left, right) in whole.Bert().named_parameters().Zip(bare.Bert().named_parameters()))
        {
            Assert.Equal(left.name, right.name);
            Bits.Equal(left.parameter.data<float>().ToArray(), right.parameter);
        }
    }

    [Fact]
    public void OpenRefusesATokenizerWithoutMarks()
    {
        var path = new TinyBert().Write(folder.File("unmarked"));
        File.WriteAllLines(Path.Combine(path, "vocab.txt"), TinyBert.Words.Where(word => word != "[SEP]"));
        Assert.Contains("the tokenizer defines no tokens for the start and the end of a sequence",
            Assert.Throws<NibbleException>(() => LoadedModel.Open(path)).Message, StringComparison.Ordinal);
    }

    private string Refusal(TinyBert tiny, Action<SortedDictionary<string, (long[] Shape, float[] Values)>> change) =>
        Assert.Throws<NibbleException>(() => LoadedModel.Open(tiny.Write(folder.File(Guid.NewGuid().ToString()), change))).Message;
}
