using Nibble.Torch.Data;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Torch.Tests.Data;

public sealed class TokenizedTextTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("one\n<|endoftext|>\ntwo", "one\n\ntwo")]
    [InlineData("one\r\n<|endoftext|>\r\ntwo", "one\n\ntwo")]
    [InlineData("one\n<|endoftext|>\ntwo\n<|endoftext|>\nthree\n", "one\n\ntwo\n\nthree\n")]
    [InlineData("one <|endoftext|> two", "one <|endoftext|> two")]
    [InlineData("{\"text\": \"one\\r\\ntwo\"}\n{\"text\": \"three\", \"meta\": {\"a\": 1}}\n", "one\ntwo\n\nthree")]
    [InlineData("{ is no JSON\n", "{ is no JSON\n")]
    public void ReadJoinsDocumentsByABlankLine(string text, string expected)
    {
        using var model = new TinyLlama().Open(folder);
        var read = TokenizedText.Read(folder.Write("text.txt", text), model.Tokenizer);
        Assert.Equal("text.txt", read.Name);
        Assert.Equal(TinyLlama.Bos, read.StartId);
        Assert.Equal([TinyLlama.Bos, .. expected.Select(c => (int)c)], read.Ids);
    }

    [Theory]
    [InlineData("one", "two", "one\n\ntwo")]
    [InlineData("one\n", "two\n", "one\n\ntwo\n")]
    [InlineData("one\r\n<|endoftext|>\r\ntwo\n<|endoftext|>\n", "three", "one\n\ntwo\n\nthree")]
    [InlineData("{\"text\": \"one\"}\n", "{\"text\": \"two\"}\n{\"text\": \"three\"}", "one\n\ntwo\n\nthree")]
    public void ReadJoinsFilesAsDocuments(string first, string second, string expected)
    {
        using var model = new TinyLlama().Open(folder);
        var (a, b) = (folder.Write("a.txt", first), folder.Write("b.txt", second));
        var read = TokenizedText.Read([a, b], model.Tokenizer);
        Assert.Equal("a.txt + b.txt", read.Name);
        Assert.Equal([TinyLlama.Bos, .. expected.Select(c => (int)c)], read.Ids);
        Assert.NotEqual(TokenizedText.Read([b, a], model.Tokenizer).Hash, read.Hash);
        Assert.Equal("a.txt and 3 more files", TokenizedText.Read([a, b, a, b], model.Tokenizer).Name);
    }

    [Fact]
    public void ReadRefusesFilesOfTwoKinds()
    {
        using var model = new TinyLlama().Open(folder);
        var (lines, plain) = (folder.Write("lines.jsonl", "{\"text\": \"one\"}\n"), folder.Write("plain.txt", "two"));
        Assert.All((string[][])[[lines, plain], [plain, lines]], paths => Assert.StartsWith(
            $"{lines} has JSON lines, but {plain} has plain text",
            Assert.Throws<NibbleException>(() => TokenizedText.Read(paths, model.Tokenizer)).Message, StringComparison.Ordinal));
    }

    [Fact]
    public void ReadWithoutABeginningTokenStartsWithTheText()
    {
        using var model = new TinyLlama { AddsBos = false }.Open(folder);
        var read = TokenizedText.Read(folder.Write("text.txt", "abc"), model.Tokenizer);
        Assert.Null(read.StartId);
        Assert.Equal(['a', 'b', 'c'], read.Ids);
        Assert.Equal(['b', 'c'], read.Window(1, 2));
    }

    [Fact]
    public void ReadRefusesWhatHoldsNoText()
    {
        using var model = new TinyLlama().Open(folder);
        Assert.Contains("absent.txt: no such text file",
            Assert.Throws<NibbleException>(() => TokenizedText.Read(folder.File("absent.txt"), model.Tokenizer)).Message, StringComparison.Ordinal);
        Assert.Contains("contains no text", Assert.Throws<NibbleException>(() => TokenizedText.Read(folder.Write("blank.txt", " \n"), model.Tokenizer)).Message,
            StringComparison.Ordinal);
        Assert.Contains("blank.txt: the file contains no text", Assert.Throws<NibbleException>(
            () => TokenizedText.Read([folder.Write("text.txt", "text"), folder.File("blank.txt")], model.Tokenizer)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ReadRefusesWhatIsNoUtf8()
    {
        using var model = new TinyLlama().Open(folder);
        File.WriteAllBytes(folder.File("latin.txt"), System.Text.Encoding.Latin1.GetBytes("un caf\u00e9 noir"));
        Assert.Contains("latin.txt: byte 0xE9 at offset 6",
            Assert.Throws<NibbleException>(() => TokenizedText.Read(folder.File("latin.txt"), model.Tokenizer)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void WindowsAreConsecutiveAndBeginWithTheBeginningToken()
    {
        var text = new TokenizedText("numbers", [.. Enumerable.Range(0, 11)], 99);
        Assert.Equal((2, 1, 11, 0), (text.WindowCount(5), text.WindowCount(11), text.WindowCount(1), text.WindowCount(12)));
        Assert.Equal([99, 1, 2, 3, 4], text.Window(0, 5));
        Assert.Equal([99, 6, 7, 8, 9], text.Window(5, 5));
        text.RequireWindow(11);
        Assert.Equal(
            "numbers: the text has 11 tokens, expected at least one window of 12. Provide a longer text or use shorter windows",
            Assert.Throws<NibbleException>(() => text.RequireWindow(12)).Message);
    }
}

public sealed class TokenizedTextRealModelTests
{
    [Fact]
    public void TinyStoriesHasAsManyTokensAsTheReferenceFound()
    {
        using var model = Texts.Stories();
        var text = Texts.TinyStories("valid.txt", model);
        Assert.Equal(93_955, text.Ids.Length);
        Assert.Equal(183, text.WindowCount(512));
        Assert.Equal(1, text.StartId);
    }
}
