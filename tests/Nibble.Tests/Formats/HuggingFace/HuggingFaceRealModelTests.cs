using Nibble.Tests.Files;
using Nibble.Formats.HuggingFace;
using Nibble.Tests.Shared;

namespace Nibble.Tests.Formats.HuggingFace;

public sealed class HuggingFaceRealModelTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void Stories260KOpens()
    {
        using var checkpoint = Checkpoint.Open(SharedData.Require("stories260K"));
        Assert.Equal(47, checkpoint.TensorNames.Count);
        Assert.Equal(8 + 4848 + (260_032 * 4), checkpoint.TensorBytes);
        Assert.Equal(["config.json", "model.safetensors", "tokenizer.model"], checkpoint.Hashes().Keys);
    }

    [Fact]
    public void Stories260KTokenizesTheValidationStories()
    {
        var tokenizer = TextTokenizer.Load(SharedData.Require("stories260K"));
        Assert.Equal((1, 2, 512), (tokenizer.BosId, tokenizer.EosId, tokenizer.VocabularySize));
        Assert.Equal(["tokenizer.model"], tokenizer.Files.Select(Path.GetFileName));

        var text = File.ReadAllText(SharedData.Require("tinystories/valid.txt")).Replace("\n<|endoftext|>\n", "\n\n", StringComparison.Ordinal);
        var ids = tokenizer.Encode(text);
        Assert.Equal(93_955, ids.Length + 1); // and BOS
        Assert.Equal(text, tokenizer.Decode(ids));
        Assert.Empty(tokenizer.Encode(""));
    }

    [Fact]
    public void BertVocabularyTokenizesAsTransformersDoes()
    {
        File.Copy(SharedData.Require("bert-vocab/vocab.txt"), folder.File("vocab.txt"));
        var tokenizer = TextTokenizer.Load(folder.Path);
        Assert.Equal((101, 102, 30_522), (tokenizer.BosId, tokenizer.EosId, tokenizer.VocabularySize));

        // hello , world ! em ##bed ##ding ##s [MASK]
        Assert.Equal([7592, 1010, 2088, 999, 7861, 8270, 4667, 2015, 103], tokenizer.Encode("Hello, wörld!\nEmbeddings [MASK]"));
    }
}
