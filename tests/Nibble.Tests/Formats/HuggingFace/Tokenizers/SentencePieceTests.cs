using Nibble.Tests.Files;
using Google.Protobuf;
using Nibble.Formats.HuggingFace;
using Nibble.Formats.HuggingFace.Tokenizers;

namespace Nibble.Tests.Formats.HuggingFace.Tokenizers;

/// <summary><c>tokenizer.model</c>, of which SentencePiece's own definition says what it means.</summary>
public sealed class SentencePieceTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    /// <summary>Of equal pairs the leftmost is merged first: aaa is aa, a.</summary>
    [Fact]
    public void TiesGoToTheLeft()
    {
        var tokenizer = Open(["a", "9", "aa", "\u2581"], scores: [-3, -4, -1, -2]);
        Assert.Equal(["\u2581", "9", "aa", "a"], Pieces(tokenizer, "9aaa"));
        Assert.Equal(["\u2581", "aa", "aa", "a"], Pieces(tokenizer, "aaaaa"));
    }

    [Fact]
    public void TheBetterPieceIsMergedFirstWhereverItStands()
    {
        var tokenizer = Open(["a", "b", "c", "ab", "bc", "abc"], scores: [-9, -9, -9, -2, -1, -3], before: BlankBefore.Never);
        Assert.Equal(["abc"], Pieces(tokenizer, "abc"));

        tokenizer = Open(["a", "b", "c", "ab", "bc"], scores: [-9, -9, -9, -2, -1], before: BlankBefore.Never);
        Assert.Equal(["a", "bc", "ab"], Pieces(tokenizer, "abcab"));
    }

    [Fact]
    public void MarksInATextAreTokensAndCharactersWithoutAPieceAreBytes()
    {
        var tokenizer = Open(["a", "\u2581", "\u2581a"], scores: [-2, -3, -1]);
        Assert.Equal(["\u2581a", "<s>", "\u2581a", "<unk>"], Pieces(tokenizer, "a<s>a<unk>"));
        Assert.Equal(["\u2581", "<0xC3>", "<0xA9>", "a"], Pieces(tokenizer, "éa"));
        foreach (var text in (string[])["", "a", " a", "a  é\n🙂a ", "<s>a é</s> a", "a<s><s>é"])
        {
            Assert.Equal(text, tokenizer.Decode(tokenizer.Encode(text)));
        }

        // Bytes that are no whole character yet.
        Assert.EndsWith("\uFFFD", tokenizer.Decode(tokenizer.Encode("🙂")[..^1]), StringComparison.Ordinal);
    }

    [Fact]
    public void WithoutBytesNeighboursThatAreUnknownAreOneToken()
    {
        var tokenizer = Open(["a", "\u2581"], scores: [-1, -2], bytes: false);
        Assert.Equal(["\u2581", "<unk>", "a", "<unk>", "a"], Pieces(tokenizer, "éüaßa"));
    }

    [Fact]
    public void BlanksArePutBeforeAndRemovedAsTheModelSays()
    {
        string[] pieces = ["a", "\u2581"];
        Assert.Equal(["a", "\u2581", "\u2581", "a"], Pieces(Open(pieces, [-1, -2], before: BlankBefore.Never), "a  a"));
        Assert.Equal(["\u2581", "\u2581", "a", "\u2581"], Pieces(Open(pieces, [-1, -2]), " a "));
        Assert.Equal(["\u2581", "a", "\u2581", "a"], Pieces(Open(pieces, [-1, -2], removesBlanks: true), "  a   a "));
    }

    [Fact]
    public void PiecesOfUsersAreFoundFirstAndUnusedOnesAreTakenApart()
    {
        var tokenizer = Open(["a", "b", "ab", "bab", "aba"], [-5, -5, -1, 0, -2], before: BlankBefore.Never,
            kinds: [PieceKind.Normal, PieceKind.Normal, PieceKind.Normal, PieceKind.UserDefined, PieceKind.Unused]);
        Assert.Equal(["a", "bab", "ab"], Pieces(tokenizer, "ababab"));
        Assert.Equal(["ab", "a"], Pieces(tokenizer, "aba"));
    }

    /// <summary>The same pieces, written for Hugging Face's library with a list of merges, become the same ids.</summary>
    [Fact]
    public void ScoresSayTheSameAsTheListOfMergesThatIsMadeOfThem()
    {
        var json = TinyTokenizers.SentencePiece("""{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"}"""
            + """,{"type":"Replace","pattern":{"String":" "},"content":"▁"}]}""");
        Directory.CreateDirectory(folder.File("json"));
        folder.Write("json/tokenizer.json", json.ToJsonString());
        var listed = TextTokenizer.Load(folder.File("json"));
        var pieces = ((SentencePieceTokens)listed.Content.Model).Model.Pieces;
        var scored = new SentencePieceModel([.. pieces.Select((piece, id) =>
            piece with { Score = -id, Kind = piece.Text is "<s>" or "</s>" ? PieceKind.Control : piece.Kind })], BlankBefore.Always, 0, 1, 2);
        Directory.CreateDirectory(folder.File("model"));
        scored.Write(folder.File("model/tokenizer.model"));
        var model = TextTokenizer.Load(folder.File("model"));
        Assert.All(TinyTokenizers.Texts, text => Assert.Equal(listed.Encode(text), model.Encode(text)));
        TinyTokenizers.AnyText.Sample(text => Assert.Equal(listed.Encode(text), model.Encode(text)), iter: 400, threads: 1);
    }

    [Theory]
    [InlineData(2, 3, 1, "is a SentencePiece model of kind unigram; expected BPE")]
    [InlineData(2, 24, 1, "treat_whitespace_as_suffix is true")]
    [InlineData(3, 2, -1, "its normalizer 'nmt_nfkc' rewrites characters (precompiled_charsmap of 3 bytes)")]
    [InlineData(3, 5, 0, "escape_whitespaces is false")]
    public void WhatIsNotDoneIsRefused(int part, int field, int value, string complaint)
    {
        using (var file = File.Create(folder.File("tokenizer.model")))
        {
            using var output = new CodedOutputStream(file);
            Message(output, 1, message => message.WriteRawTag(10, 1, (byte)'a'));
            Message(output, 2, message => Number(message, 3, part == 2 && field == 3 ? value : 2, part == 2 && field != 3 ? (field, value) : null));
            Message(output, 3, message =>
            {
                message.WriteTag(1, WireFormat.WireType.LengthDelimited);
                message.WriteString("nmt_nfkc");
                if (part == 3 && value < 0)
                {
                    message.WriteTag(field, WireFormat.WireType.LengthDelimited);
                    message.WriteBytes(ByteString.CopyFrom(1, 2, 3));
                }
                else if (part == 3)
                {
                    message.WriteTag(field, WireFormat.WireType.Varint);
                    message.WriteInt32(value);
                }
            });
        }

        Assert.Contains(complaint, Assert.Throws<NibbleException>(() => TextTokenizer.Load(folder.Path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void AModelThatCannotSpellIsRefused()
    {
        new SentencePieceModel([new Piece("a", 0, PieceKind.Normal)], BlankBefore.Never, -1, -1, -1).Write(folder.File("tokenizer.model"));
        Assert.Contains("neither pieces for all bytes nor one for unknown text",
            Assert.Throws<NibbleException>(() => TextTokenizer.Load(folder.Path)).Message, StringComparison.Ordinal);
    }

    private static void Message(CodedOutputStream output, int field, Action<CodedOutputStream> write)
    {
        using var bytes = new MemoryStream();
        using (var message = new CodedOutputStream(bytes, leaveOpen: true))
        {
            write(message);
        }

        output.WriteTag(field, WireFormat.WireType.LengthDelimited);
        output.WriteBytes(ByteString.CopyFrom(bytes.ToArray()));
    }

    private static void Number(CodedOutputStream message, int field, int value, (int Field, int Value)? further)
    {
        message.WriteTag(field, WireFormat.WireType.Varint);
        message.WriteInt32(value);
        if (further is var (other, number))
        {
            message.WriteTag(other, WireFormat.WireType.Varint);
            message.WriteInt32(number);
        }
    }

    private static List<string> Pieces(TextTokenizer tokenizer, string text) =>
        [.. tokenizer.Encode(text).Select(id => ((SentencePieceTokens)tokenizer.Content.Model).Model.Pieces[id].Text)];

    /// <summary>A model of &lt;unk&gt;, &lt;s&gt;, &lt;/s&gt;, all bytes and some pieces.</summary>
    private TextTokenizer Open(string[] pieces, float[] scores, BlankBefore before = BlankBefore.Always, bool removesBlanks = false, bool bytes = true,
        PieceKind[]? kinds = null)
    {
        var all = new List<Piece> { new("<unk>", 0, PieceKind.Unknown), new("<s>", 0, PieceKind.Control), new("</s>", 0, PieceKind.Control) };
        all.AddRange(Enumerable.Range(0, bytes ? 256 : 0).Select(value => new Piece($"<0x{value:X2}>", 0, PieceKind.Byte)));
        all.AddRange(pieces.Select((piece, i) => new Piece(piece, scores[i], kinds?[i] ?? PieceKind.Normal)));
        new SentencePieceModel(all, before, 0, 1, 2) { RemovesExtraBlanks = removesBlanks }.Write(folder.File("tokenizer.model"));
        return TextTokenizer.Load(folder.Path);
    }
}
