using Nibble.Tests.Files;
using Nibble.Files;
using Nibble.Formats.HuggingFace;
using Nibble.Formats.Safetensors;

namespace Nibble.Tests.Formats.HuggingFace;

public sealed class CheckpointTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void OpenReadsOneFile()
    {
        folder.Write("config.json", """{"model_type":"llama"}""");
        WriteTensors("model.safetensors", ("b", 2), ("a", 1));

        using var checkpoint = Checkpoint.Open(folder.Path);
        Assert.Equal(folder.Path, checkpoint.Folder);
        Assert.Equal("""{"model_type":"llama"}""", checkpoint.ConfigJson);
        Assert.Equal(["a", "b"], checkpoint.TensorNames);
        Assert.Equal([2f], checkpoint.ReadFloats("b"));
        Assert.Equal([1L], checkpoint.Entry("a").Shape);
        Assert.Equal(new FileInfo(folder.File("model.safetensors")).Length, checkpoint.TensorBytes);
        Assert.True(checkpoint.Contains("a"));
        Assert.False(checkpoint.Contains("c"));
        Assert.Contains("no tensor c", Assert.Throws<NibbleException>(() => checkpoint.ReadFloats("c")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void OpenReadsShards()
    {
        WriteShards("""{"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}""");
        using var checkpoint = Checkpoint.Open(folder.Path);
        Assert.Equal(["a", "b"], checkpoint.TensorNames);
        Assert.Equal([1f], checkpoint.ReadFloats("a"));
        Assert.Equal([2f], checkpoint.ReadFloats("b"));
        Assert.Equal(["1.safetensors", "2.safetensors", "config.json", "model.safetensors.index.json"], checkpoint.Hashes().Keys);
    }

    [Fact]
    public void HashesAreSha256()
    {
        folder.Write("config.json", "{}");
        folder.Write("tokenizer.json", "abc");
        WriteTensors("model.safetensors", ("a", 1));
        using var checkpoint = Checkpoint.Open(folder.Path);
        var hashes = checkpoint.Hashes();
        Assert.Equal(["config.json", "model.safetensors", "tokenizer.json"], hashes.Keys);
        Assert.Equal("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", hashes["tokenizer.json"]);
    }

    /// <summary>What transformers saves of a model without a head has no prefix (Qwen3-Embedding).</summary>
    [Theory]
    [InlineData("llama", "embed_tokens.weight", "layers.0.x", "model.")]
    [InlineData("qwen3", "embed_tokens.weight", "norm.weight", "model.")]
    [InlineData("bert", "embeddings.word_embeddings.weight", "encoder.layer.0.x", "bert.")]
    [InlineData("distilbert", "embeddings.word_embeddings.weight", "transformer.layer.0.x", "distilbert.")]
    public void OpenPutsThePrefixBeforeNamesThatLackIt(string type, string embedding, string other, string prefix)
    {
        folder.Write("config.json", $$"""{"model_type":"{{type}}"}""");
        WriteTensors("model.safetensors", (embedding, 2), (other, 1), ("lm_head.weight", 3));
        using var checkpoint = Checkpoint.Open(folder.Path);
        Assert.Equal(((string[])["lm_head.weight", prefix + embedding, prefix + other]).Order(StringComparer.Ordinal), checkpoint.TensorNames);
        Assert.Equal([2f], checkpoint.ReadFloats(prefix + embedding));
        Assert.Equal([1L], checkpoint.Entry(prefix + other).Shape);
        Assert.False(checkpoint.Contains(embedding));
        using var stream = new MemoryStream();
        checkpoint.CopyTo(prefix + other, stream);
        Assert.Equal(4, stream.Length);
        Assert.Equal(checkpoint.TensorNames, checkpoint.TensorsInOrder.Order(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData("gpt2", "embed_tokens.weight")]
    [InlineData("llama", "other.weight")]
    [InlineData("llama", "model.embed_tokens.weight")]
    public void OpenLeavesOtherNamesAlone(string type, string name)
    {
        folder.Write("config.json", $$"""{"model_type":"{{type}}"}""");
        WriteTensors("model.safetensors", (name, 2), ("layers.0.x", 1));
        using var checkpoint = Checkpoint.Open(folder.Path);
        Assert.Equal(((string[])[name, "layers.0.x"]).Order(StringComparer.Ordinal), checkpoint.TensorNames);
    }

    [Theory]
    [InlineData("bert", "bert.embeddings.word_embeddings.weight", "cls.predictions.bias",
        "no classification head (classifier.*). It was saved as Some. It has another kind of head, such as 'cls.predictions.bias'. Train a head on it first")]
    [InlineData("bert", "embeddings.word_embeddings.weight", "pooler.dense.bias",
        "no classification head (classifier.*). It was saved as Some. Train a head on it first")]
    [InlineData("roberta", "roberta.embeddings.word_embeddings.weight", "classifier.dense.bias", null)]
    [InlineData("llama", "model.embed_tokens.weight", "score.weight", "no language-modelling head (lm_head.weight)")]
    [InlineData("llama", "model.embed_tokens.weight", "lm_head.weight", null)]
    [InlineData("other", "a", "b", null)]
    public void RequireHeadSaysWhatIsMissing(string type, string embedding, string other, string? complaint)
    {
        folder.Write("config.json", $$"""{"model_type":"{{type}}","architectures":["Some"]}""");
        WriteTensors("model.safetensors", (embedding, 2), (other, 1));
        using var checkpoint = Checkpoint.Open(folder.Path);
        if (complaint is null)
        {
            checkpoint.RequireHead();
        }
        else
        {
            Assert.Contains(complaint, Assert.Throws<NibbleException>(checkpoint.RequireHead).Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void RequireHeadTakesATiedEmbeddingForOne()
    {
        folder.Write("config.json", """{"model_type":"qwen3","tie_word_embeddings":true}""");
        WriteTensors("model.safetensors", ("embed_tokens.weight", 2));
        using var checkpoint = Checkpoint.Open(folder.Path);
        checkpoint.RequireHead();
    }

    [Theory]
    [InlineData("""{"weight_map":{"a":"../1.safetensors"}}""", "in the same folder")]
    [InlineData("""{"weight_map":{"a":"..\\1.safetensors"}}""", "in the same folder")]
    [InlineData("""{"weight_map":{"a":"/etc/passwd"}}""", "in the same folder")]
    [InlineData("""{"weight_map":{"a":""}}""", "in the same folder")]
    [InlineData("""{"weight_map":{"a":1}}""", "has no file name for a")]
    [InlineData("""{"weight_map":[]}""", "expected an object weight_map")]
    [InlineData("{}", "expected an object weight_map")]
    [InlineData("[]", "expected a JSON object")]
    [InlineData("{", "not valid JSON")]
    [InlineData("""{"weight_map":{"a":"3.safetensors"}}""", "no file")]
    [InlineData("""{"weight_map":{"a":"2.safetensors"}}""", "different checkpoints")]
    public void OpenRefusesABrokenIndex(string index, string complaint)
    {
        WriteShards(index);
        Assert.Contains(complaint, Assert.Throws<NibbleException>(() => Checkpoint.Open(folder.Path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void OpenSaysWhatIsMissing()
    {
        Assert.Contains("There is no folder", Refusal(folder.File("absent")), StringComparison.Ordinal);
        Assert.Contains("no weights at all", Refusal(folder.Path), StringComparison.Ordinal);
        var bin = folder.Write("pytorch_model.bin", "");
        folder.Write("model-Q4_0.gguf", "");
        Assert.Contains("holds model-Q4_0.gguf, pytorch_model.bin. Expected weights in", Refusal(folder.Path), StringComparison.Ordinal);
        Assert.Contains("is a file", Refusal(bin), StringComparison.Ordinal);
        WriteTensors("model.safetensors", ("a", 1));
        Assert.Contains("config.json", Refusal(folder.Path), StringComparison.Ordinal);
        folder.Write("config.json", "7");
        Assert.Contains("expected a JSON object", Refusal(folder.Path), StringComparison.Ordinal);

        static string Refusal(string path) => Assert.Throws<NibbleException>(() => Checkpoint.Open(path)).Message;
    }

    private void WriteShards(string index)
    {
        folder.Write("config.json", "{}");
        folder.Write("model.safetensors.index.json", index);
        WriteTensors("1.safetensors", ("a", 1));
        WriteTensors("2.safetensors", ("b", 2));
    }

    private void WriteTensors(string file, params (string Name, float Value)[] tensors) => SafetensorsWriter.Write(
        folder.File(file),
        [.. tensors.Select(tensor => SafetensorsTensor.FromFloats(tensor.Name, ElementType.F32, [1], new[] { tensor.Value }))]);
}
