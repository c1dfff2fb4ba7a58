using Nibble.Formats;
using Nibble.Formats.HuggingFace;
using Nibble.Formats.Safetensors;

namespace Nibble.Tests.Formats.HuggingFace;

public sealed class CheckpointTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Open_ReadsOneFile()
    {
        _folder.Write("config.json", """{"model_type":"llama"}""");
        WriteTensors("model.safetensors", ("b", 2), ("a", 1));

        using var checkpoint = Checkpoint.Open(_folder.Path);
        Assert.Equal(_folder.Path, checkpoint.Folder);
        Assert.Equal("""{"model_type":"llama"}""", checkpoint.ConfigJson);
        Assert.Equal(["a", "b"], checkpoint.TensorNames);
        Assert.Equal([2f], checkpoint.ReadFloats("b"));
        Assert.Equal([1L], checkpoint.Entry("a").Shape);
        Assert.Equal(new FileInfo(_folder.File("model.safetensors")).Length, checkpoint.TensorBytes);
        Assert.True(checkpoint.Contains("a"));
        Assert.False(checkpoint.Contains("c"));
        Assert.Contains("no tensor c", Assert.Throws<NibbleException>(() => checkpoint.ReadFloats("c")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Open_ReadsShards()
    {
        WriteShards("""{"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}""");
        using var checkpoint = Checkpoint.Open(_folder.Path);
        Assert.Equal(["a", "b"], checkpoint.TensorNames);
        Assert.Equal([1f], checkpoint.ReadFloats("a"));
        Assert.Equal([2f], checkpoint.ReadFloats("b"));
        Assert.Equal(["1.safetensors", "2.safetensors", "config.json", "model.safetensors.index.json"], checkpoint.Hashes().Keys);
    }

    [Fact]
    public void Hashes_AreSha256()
    {
        _folder.Write("config.json", "{}");
        _folder.Write("tokenizer.json", "abc");
        WriteTensors("model.safetensors", ("a", 1));
        using var checkpoint = Checkpoint.Open(_folder.Path);
        var hashes = checkpoint.Hashes();
        Assert.Equal(["config.json", "model.safetensors", "tokenizer.json"], hashes.Keys);
        Assert.Equal("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", hashes["tokenizer.json"]);
    }

    [Theory]
    [InlineData("""{"weight_map":{"a":"../1.safetensors"}}""", "in the same folder")]
    [InlineData("""{"weight_map":{"a":"..\\1.safetensors"}}""", "in the same folder")]
    [InlineData("""{"weight_map":{"a":"/etc/passwd"}}""", "in the same folder")]
    [InlineData("""{"weight_map":{"a":""}}""", "in the same folder")]
    [InlineData("""{"weight_map":{"a":1}}""", "names no file for a")]
    [InlineData("""{"weight_map":[]}""", "expected an object weight_map")]
    [InlineData("{}", "expected an object weight_map")]
    [InlineData("[]", "expected a JSON object")]
    [InlineData("{", "not valid JSON")]
    [InlineData("""{"weight_map":{"a":"3.safetensors"}}""", "no file")]
    [InlineData("""{"weight_map":{"a":"2.safetensors"}}""", "different checkpoints")]
    public void Open_RefusesABrokenIndex(string index, string complaint)
    {
        WriteShards(index);
        Assert.Contains(complaint, Assert.Throws<NibbleException>(() => Checkpoint.Open(_folder.Path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Open_SaysWhatIsMissing()
    {
        Assert.Contains("There is no folder", Refusal(_folder.File("absent")), StringComparison.Ordinal);
        Assert.Contains("no weights at all", Refusal(_folder.Path), StringComparison.Ordinal);
        var bin = _folder.Write("pytorch_model.bin", "");
        _folder.Write("model-Q4_0.gguf", "");
        Assert.Contains("holds model-Q4_0.gguf, pytorch_model.bin. Supported are", Refusal(_folder.Path), StringComparison.Ordinal);
        Assert.Contains("is a file", Refusal(bin), StringComparison.Ordinal);
        WriteTensors("model.safetensors", ("a", 1));
        Assert.Contains("config.json", Refusal(_folder.Path), StringComparison.Ordinal);
        _folder.Write("config.json", "7");
        Assert.Contains("expected a JSON object", Refusal(_folder.Path), StringComparison.Ordinal);

        static string Refusal(string path) => Assert.Throws<NibbleException>(() => Checkpoint.Open(path)).Message;
    }

    private void WriteShards(string index)
    {
        _folder.Write("config.json", "{}");
        _folder.Write("model.safetensors.index.json", index);
        WriteTensors("1.safetensors", ("a", 1));
        WriteTensors("2.safetensors", ("b", 2));
    }

    private void WriteTensors(string file, params (string Name, float Value)[] tensors) => SafetensorsWriter.Write(
        _folder.File(file),
        [.. tensors.Select(tensor => SafetensorsTensor.FromFloats(tensor.Name, ElementType.F32, [1], new[] { tensor.Value }))]);
}
