using Nibble.Formats.HuggingFace;
using Nibble.Tests.Shared;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Torch.Tests.Evaluation;

public sealed class StreamedTextTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void AppendHoldsBytesBackUntilTheyAreACharacter()
    {
        using var model = new TinyLlama().Open(folder);
        var ids = model.Tokenizer.Encode("a🙂b");
        Assert.Equal(6, ids.Length);
        var text = new StreamedText(model.Tokenizer, [TinyLlama.Bos]);
        Assert.Equal(["a", "", "", "", "🙂", "b"], ids.Select(text.Append));
        Assert.Equal(string.Empty, text.Rest());
    }

    [Fact]
    public void RestIsWhatNeverBecameACharacter()
    {
        using var model = new TinyLlama().Open(folder);
        var text = new StreamedText(model.Tokenizer, []);
        Assert.All(model.Tokenizer.Encode("🙂").AsSpan(0, 2).ToArray(), id => Assert.Equal(string.Empty, text.Append(id)));
        Assert.NotEqual(string.Empty, text.Rest());
        Assert.Equal(string.Empty, text.Rest());
    }

    [Fact]
    public void PiecesAreTheTextOfAllTokens()
    {
        var tokenizer = TextTokenizer.Load(SharedData.Require("stories260K"));
        const string Story = "Once upon a time, there was a fox 🙂 – it  ran.\nThe end";
        var ids = tokenizer.Encode(Story);
        for (var start = 0; start < ids.Length; start++)
        {
            var text = new StreamedText(tokenizer, ids[..start]);
            var pieces = string.Concat(ids[start..].Select(text.Append)) + text.Rest();
            Assert.Equal(tokenizer.Decode(ids)[tokenizer.Decode(ids[..start]).Length..], pieces);
        }
    }
}
