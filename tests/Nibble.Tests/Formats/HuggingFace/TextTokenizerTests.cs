using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Nibble.Formats.HuggingFace;

namespace Nibble.Tests.Formats.HuggingFace;

public sealed class TextTokenizerTests : IDisposable
{
    private static readonly string[] Texts = ["a", "é", "🙂", "日本", " \n\t ", "hello<|end|>w"];

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("\"h e\", \"l l\", \"he ll\", \"Ġ w\"")]
    [InlineData("[\"h\", \"e\"], [\"l\", \"l\"], [\"he\", \"ll\"], [\"Ġ\", \"w\"]")]
    public void BytePairs_AreMerged_AndComeBack(string merges)
    {
        var tokenizer = BytePairs(merges);
        Assert.Equal([258, 'o', 259, 'o', 'r', 'l', 'd'], tokenizer.Encode("hello world"));
        Assert.All(Texts, text => Assert.Equal(text, tokenizer.Decode(tokenizer.Encode(text))));
        Assert.Equal(Encoding.UTF8.GetBytes("é日🙂").Select(value => (int)value), tokenizer.Encode("é日🙂"));
        Assert.Equal([260], tokenizer.Encode("<|end|>"));
        Assert.Equal(261, tokenizer.VocabularySize);
        Assert.Empty(tokenizer.Encode(""));
        Assert.Equal("", tokenizer.Decode([]));
        Assert.Throws<ArgumentOutOfRangeException>(() => tokenizer.Decode([261]));
    }

    [Fact]
    public void BytePairs_RoundTripAnyText()
    {
        var tokenizer = BytePairs("\"h e\", \"l l\"");
        var text = Gen.OneOf(Gen.Char['a', 'z'], Gen.Char['\0', '\ud7ff'], Gen.OneOf(' ', '\n', 'h', 'e', 'l')).Array[0, 40];
        text.Sample(characters =>
        {
            var sample = new string(characters);
            Assert.Equal(sample, tokenizer.Decode(tokenizer.Encode(sample)));
        });
    }

    /// <summary>Digits first, then GPT-2's words in what lies between them: the one pattern finds the same pieces.</summary>
    [Fact]
    public void ThePatternOfDigits_SplitsAsItsTwoStepsDo()
    {
        var part = Gen.OneOf("1", "23", " ", "  ", "\n", "\t", "a", "Éé", "'s", "'", "!", "½", "日", "_");
        part.Array[0, 12].Sample(parts =>
        {
            var text = string.Concat(parts);
            var pieces = Regex.Split(text, @"(\p{N})").SelectMany(piece => Regex.Matches(piece, TokenizerJson.Gpt2Pattern).Select(match => match.Value));
            Assert.Equal(pieces, Regex.Matches(text, TokenizerJson.DigitsPattern).Select(match => match.Value));
        }, iter: 20_000);
    }

    [Fact]
    public void Ids_OfBeginningAndEnd_ComeFromTheConfiguration()
    {
        _folder.Write("config.json", """{"bos_token_id":260,"eos_token_id":[259,260]}""");
        var tokenizer = BytePairs("");
        Assert.Equal((260, 259), (tokenizer.BosId, tokenizer.EosId));
        Assert.Equal([_folder.File("tokenizer.json")], tokenizer.Files);

        _folder.Write("config.json", """{"bos_token_id":261}""");
        Assert.Contains("bos_token_id is 261; expected an id of the vocabulary, 0 to 260", Refusal(), StringComparison.Ordinal);
        _folder.Write("config.json", """{"bos_token_id":null}""");
        Assert.Null(TextTokenizer.Load(_folder.Path).BosId);
    }

    [Theory]
    [InlineData("""{"model":{"type":"Unigram","vocab":[]}}""", "type Unigram. Supported are")]
    [InlineData("""{"model":{"type":"BPE","byte_fallback":true,"vocab":{},"merges":[]}}""", "not byte-level")]
    [InlineData("""{"model":{"type":"BPE","vocab":{},"merges":[]}}""", "not byte-level")]
    [InlineData("""{"model":{"type":"BPE","vocab":{},"merges":[]},"pre_tokenizer":{"type":"Digits"}}""", "Digits")]
    [InlineData("""{"model":{"type":"BPE","vocab":{},"merges":[]},"normalizer":{"type":"Lowercase"}}""", "Lowercase")]
    [InlineData("""{"model":{"type":"BPE","vocab":{},"merges":[]},"pre_tokenizer":{"type":"ByteLevel"}}""", "vocabulary is empty")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":-1},"merges":[]},"pre_tokenizer":{"type":"ByteLevel"}}""", "negative id -1")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":"b"},"merges":[]},"pre_tokenizer":{"type":"ByteLevel"}}""", "not a valid tokenizer")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0}},"pre_tokenizer":{"type":"ByteLevel"}}""", "not a valid tokenizer")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","behavior":"Isolated","pattern":{"Regex":"("}},{"type":"ByteLevel","use_regex":false}]}}""", "not a valid tokenizer")]
    [InlineData("""{"model":{"type":"WordPiece","vocab":{"a":0,"[UNK]":2}}}""", "leaves a gap")]
    [InlineData("""{"model":{"type":"WordPiece","vocab":{"a":0}}}""", "no [UNK]")]
    [InlineData("""{}""", "not a valid tokenizer")]
    public void Load_RefusesWhatItDoesNotKnow(string json, string complaint)
    {
        _folder.Write("tokenizer.json", json);
        Assert.Contains(complaint, Refusal(), StringComparison.Ordinal);
    }

    [Fact]
    public void Load_SaysWhatIsMissingOrBroken()
    {
        Assert.Contains("holds no tokenizer. Supported are tokenizer.model", Refusal(), StringComparison.Ordinal);
        _folder.Write("tokenizer.model", "this is no protocol buffer");
        Assert.Contains("cannot be read as a SentencePiece BPE model", Refusal(), StringComparison.Ordinal);
    }

    [Fact]
    public void WordPiece_SplitsAsBertDoes()
    {
        _folder.Write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nun\n##able\n!\ncafe\n日\na\n##b");
        var tokenizer = TextTokenizer.Load(_folder.Path);
        Assert.Equal((2, 3, 12), (tokenizer.BosId, tokenizer.EosId, tokenizer.VocabularySize));
        Assert.Equal([5, 6, 7, 7], tokenizer.Encode("UNABLE!!"));
        Assert.Equal([8, 8], tokenizer.Encode("CAFÉ cafe\u0301"));
        Assert.Equal([10, 9, 10], tokenizer.Encode("a日a"));
        Assert.Equal([10, 4, 10], tokenizer.Encode("a [MASK] a"));
        Assert.Equal([10, 10, 11, 1, 1], tokenizer.Encode("a\nab x🙂\t\0zz"));
        Assert.Equal("unable!", tokenizer.Decode(tokenizer.Encode("Unable!")).Replace(" ", "", StringComparison.Ordinal));
    }

    [Fact]
    public void WordPiece_KeepsCase_WhereTheTokenizerDoes()
    {
        _folder.Write("vocab.txt", "[UNK]\nÉ\nA\na");
        Assert.Equal([1, 2, 3], TextTokenizer.Load(_folder.Path).Encode("É A a"));
        _folder.Write("tokenizer_config.json", """{"do_lower_case":true}""");
        Assert.Equal([0, 3, 3], TextTokenizer.Load(_folder.Path).Encode("É A a"));
        _folder.Write("tokenizer.json", """{"model":{"type":"WordPiece","vocab":{"[UNK]":0,"É":1,"A":2,"a":3}},"normalizer":{"type":"BertNormalizer","lowercase":false}}""");
        Assert.Equal([1, 2, 3], TextTokenizer.Load(_folder.Path).Encode("É A a"));
    }

    private string Refusal() => Assert.Throws<NibbleException>(() => TextTokenizer.Load(_folder.Path)).Message;

    /// <summary>The 256 bytes by their values, then he, ll, hell, Ġw and the special token.</summary>
    private TextTokenizer BytePairs(string merges)
    {
        var extra = 256;
        var vocabulary = new Dictionary<string, int>();
        for (var value = 0; value < 256; value++)
        {
            // GPT-2's table: printable bytes stand for themselves, the others follow from U+0100 on.
            var printable = value is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or (>= 0xAE and <= 0xFF);
            vocabulary.Add(((char)(printable ? value : extra++)).ToString(), value);
        }

        foreach (var token in (string[])["he", "ll", "hell", "Ġw"])
        {
            vocabulary.Add(token, vocabulary.Count);
        }

        _folder.Write(
            "tokenizer.json",
            $$"""
            {"model":{"type":"BPE","vocab":{{JsonSerializer.Serialize(vocabulary)}},"merges":[{{merges}}]},
             "added_tokens":[{"id":260,"content":"<|end|>","special":true}],
             "pre_tokenizer":{"type":"Sequence","pretokenizers":[
               {"type":"Split","pattern":{"Regex":"(?i:'s|'t)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},"behavior":"Isolated","invert":false},
               {"type":"ByteLevel","add_prefix_space":false,"use_regex":false} ] } }
            """);
        return TextTokenizer.Load(_folder.Path);
    }
}
