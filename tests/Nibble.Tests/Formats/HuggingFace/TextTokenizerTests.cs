using Nibble.Tests.Files;
using System.Text;
using System.Text.Json;
using Nibble.Formats.HuggingFace;

namespace Nibble.Tests.Formats.HuggingFace;

public sealed class TextTokenizerTests : IDisposable
{
    private static readonly string[] Texts = ["a", "é", "🙂", "日本", " \n\t ", "hello<|end|>w"];

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("\"h e\", \"l l\", \"he ll\", \"Ġ w\"")]
    [InlineData("[\"h\", \"e\"], [\"l\", \"l\"], [\"he\", \"ll\"], [\"Ġ\", \"w\"]")]
    public void BytePairsAreMergedAndComeBack(string merges)
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
    public void BytePairsRoundTripAnyText()
    {
        var tokenizer = BytePairs("\"h e\", \"l l\"");
        var text = Gen.OneOf(Gen.Char['a', 'z'], Gen.Char['\0', '\ud7ff'], Gen.OneOf(' ', '\n', 'h', 'e', 'l')).Array[0, 40];
        text.Sample(characters =>
        {
            var sample = new string(characters);
            Assert.Equal(sample, tokenizer.Decode(tokenizer.Encode(sample)));
        });
    }

    /// <summary>config.json tells at most which tokens are meant: that they are put around texts is the tokenizer's to say.</summary>
    [Fact]
    public void IdsOfBeginningAndEndComeFromTheConfigurationWhereTheTokenizerNamesNone()
    {
        folder.Write("config.json", """{"bos_token_id":260,"eos_token_id":[259,260]}""");
        var tokenizer = BytePairs("");
        Assert.Equal((260, 259), (tokenizer.BosId, tokenizer.EosId));
        Assert.Equal((null, null), (tokenizer.StartId, tokenizer.EndId));
        Assert.Equal([259, 260], tokenizer.StopIds);
        Assert.Equal([folder.File("tokenizer.json")], tokenizer.Files);

        folder.Write("config.json", """{"bos_token_id":261}""");
        Assert.Contains("bos_token_id is 261; expected an id of the vocabulary, 0 to 260", Refusal(), StringComparison.Ordinal);
        folder.Write("config.json", """{"bos_token_id":null}""");
        Assert.Null(TextTokenizer.Load(folder.Path).BosId);
    }

    [Theory]
    [InlineData("""{"model":{"type":"Other","vocab":[]}}""", "model is of type Other, which is not supported; expected BPE, Unigram, WordPiece or WordLevel")]
    [InlineData("""{"model":{"type":"Unigram","vocab":[]}}""", "vocabulary is empty")]
    [InlineData("""{"model":{"type":"Unigram","unk_id":1,"vocab":[["a",0]]}}""", "model.unk_id is 1, which is not supported; expected an id of the vocabulary")]
    [InlineData("""{"model":{"type":"BPE","dropout":0.1,"vocab":{},"merges":[]}}""", "model.dropout is 0.1, so text is split at random")]
    [InlineData("""{"model":{"type":"BPE","unk_token":"b","vocab":{"a":0},"merges":[]}}""", "model.unk_token is 'b', which is not in the vocabulary")]
    [InlineData("""{"model":{"type":"BPE","continuing_subword_prefix":"#","vocab":{"a":0},"merges":["a a"]}}""", "'a', which does not start with '#'")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"UnicodeScripts"}"""
        + """,{"type":"ByteLevel"}]}}""", "pre_tokenizer.pretokenizers[0] is of type UnicodeScripts")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"normalizer":{"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"Other"}]}}""",
        "normalizer.normalizers[1] is of type Other")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"decoder":{"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"CTC"}]}}""",
        "decoder.decoders[1] is of type CTC")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"normalizer":{"type":"Precompiled","precompiled_charsmap":"AAAA"}}""",
        "precompiled_charsmap has 3 bytes and says that 0 of them are its trie")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"normalizer":{"type":"Strip","strip_left":true,"strip_right":false}"""
        + ""","pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"first"}}""", "pre_tokenizer.prepend_scheme is first")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"normalizer":{"type":"Lowercase"}"""
        + ""","pre_tokenizer":{"type":"Split","behavior":"Joined","pattern":{"String":" "}}}""", "pre_tokenizer.behavior is Joined")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"normalizer":{"type":"StripAccents"}"""
        + ""","added_tokens":[{"id":1,"content":"\u0301","normalized":true}]}""", "added_tokens [0] ('\u0301') is normalized, and nothing is left of it")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":[]}"""
        + ""","pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","behavior":"Isolated","pattern":{"Regex":"\\w+"}}"""
        + """,{"type":"ByteLevel"}]}}""", "pretokenizers[0].pattern contains \\w, which .NET's regular expressions read differently: \\w+")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":[]}"""
        + ""","pre_tokenizer":{"type":"Split","behavior":"Isolated","pattern":{"Regex":"\\p{Han}+"}}}""",
        "pre_tokenizer.pattern is \\p{Han}+, of which .NET's")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":[]}"""
        + ""","pre_tokenizer":{"type":"Split","behavior":"Isolated","pattern":{"Regex":"[a[bc]]+"}}}""", "contains a class within a class")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":[]}"""
        + ""","pre_tokenizer":{"type":"Split","behavior":"Isolated","pattern":{"Regex":"(?im:a.)"}}}""", "contains (?m, which")]
    [InlineData("""{"model":{"type":"BPE","vocab":{},"merges":[]},"pre_tokenizer":{"type":"ByteLevel"}}""", "vocabulary is empty")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":-1},"merges":[]},"pre_tokenizer":{"type":"ByteLevel"}}""", "has the id -1")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":99999999},"merges":[]},"pre_tokenizer":{"type":"ByteLevel"}}""", "has the id 99999999")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":"b"},"merges":[]},"pre_tokenizer":{"type":"ByteLevel"}}""", "not a valid tokenizer")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0}},"pre_tokenizer":{"type":"ByteLevel"}}""", "not a valid tokenizer: model.merges is missing")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":["a b"]},"pre_tokenizer":{"type":"ByteLevel"}}""",
        "a merge uses or produces the token 'b', which the vocabulary lacks")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":["ab"]},"pre_tokenizer":{"type":"ByteLevel"}}""", "the merge 'ab' does not have two tokens")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","behavior":"Isolated","pattern":{"Regex":"("}},{"type":"ByteLevel","use_regex":false}]}}""", "pattern is (, of which .NET's")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"pre_tokenizer":{"type":"ByteLevel"},"added_tokens":[{"id":1,"content":"a"}]}""",
        "added_tokens[0] gives 'a' the id 1, but in model.vocab it has 0")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"pre_tokenizer":{"type":"ByteLevel"},"added_tokens":[{"id":1,"content":""}]}""",
        "added_tokens[0] has no text")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"pre_tokenizer":{"type":"ByteLevel"},"post_processor":{"type":"Other"}}""",
        "post_processor is of type Other")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"pre_tokenizer":{"type":"ByteLevel"}"""
        + ""","post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"a"}}]}}""", "not a valid tokenizer")]
    [InlineData("""{"model":{"type":"WordPiece","vocab":{"a":0,"[UNK]":2}},"pre_tokenizer":{"type":"BertPreTokenizer"}}""", "leaves a gap")]
    [InlineData("""{"model":{"type":"WordPiece","vocab":{"a":0}},"pre_tokenizer":{"type":"BertPreTokenizer"}}""", "no [UNK]")]
    [InlineData("""{}""", "not a valid tokenizer")]
    public void LoadRefusesWhatItDoesNotKnow(string json, string complaint)
    {
        folder.Write("tokenizer.json", json);
        Assert.Contains(complaint, Refusal(), StringComparison.Ordinal);
    }

    [Fact]
    public void LoadSaysWhatIsMissingOrBroken()
    {
        Assert.Contains("has no tokenizer. Nibble supports tokenizer.json", Refusal(), StringComparison.Ordinal);
        folder.Write("tokenizer.model", "this is no protocol buffer");
        Assert.Contains("is not a SentencePiece model", Refusal(), StringComparison.Ordinal);
    }

    /// <summary>A file that asks for what is not done must not be passed over for another one beside it.</summary>
    [Fact]
    public void LoadDoesNotTakeAnotherFileForARefusedOne()
    {
        folder.Write("tokenizer.json", """{"model":{"type":"Other","vocab":[]}}""");
        folder.Write("vocab.txt", "[UNK]\na");
        Assert.Contains("model is of type Other", Refusal(), StringComparison.Ordinal);
    }

    [Fact]
    public void EncodeSaysWhichByteHasNoToken()
    {
        folder.Write("tokenizer.json", """{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"pre_tokenizer":{"type":"ByteLevel"}}""");
        var tokenizer = TextTokenizer.Load(folder.Path);
        Assert.Equal([0, 0], tokenizer.Encode("aa"));
        Assert.Contains("no token for the byte 0x62 of 'ab'", Assert.Throws<NibbleException>(() => tokenizer.Encode("ab")).Message, StringComparison.Ordinal);
    }

    /// <summary>A word of 200,000 characters: with merges that look at all pairs anew each time, this would not end.</summary>
    [Fact]
    public void EncodeOfALongWordTakesStepsInProportion()
    {
        var tokenizer = BytePairs("\"h e\", \"l l\"");
        var word = string.Concat(Enumerable.Repeat("hello", 40_000));
        Assert.Equal(Enumerable.Repeat<int[]>([256, 257, 'o'], 40_000).SelectMany(ids => ids), tokenizer.Encode(word));
    }

    [Fact]
    public void WordPieceSplitsAsBertDoes()
    {
        folder.Write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nun\n##able\n!\ncafe\n日\na\n##b");
        var tokenizer = TextTokenizer.Load(folder.Path);
        Assert.Equal((2, 3, 12), (tokenizer.BosId, tokenizer.EosId, tokenizer.VocabularySize));
        Assert.Equal([5, 6, 7, 7], tokenizer.Encode("UNABLE!!"));
        Assert.Equal([8, 8], tokenizer.Encode("CAFÉ cafe\u0301"));
        Assert.Equal([10, 9, 10], tokenizer.Encode("a日a"));
        Assert.Equal([10, 4, 10], tokenizer.Encode("a [MASK] a"));
        Assert.Equal([10, 10, 11, 1, 1], tokenizer.Encode("a\nab x🙂\t\0zz"));
        Assert.Equal("unable!", tokenizer.Decode(tokenizer.Encode("Unable!")).Replace(" ", "", StringComparison.Ordinal));
    }

    [Fact]
    public void WordPieceKeepsCaseWhereTheTokenizerDoes()
    {
        folder.Write("vocab.txt", "[UNK]\nÉ\nA\na");
        Assert.Equal([1, 2, 3], TextTokenizer.Load(folder.Path).Encode("É A a"));
        folder.Write("tokenizer_config.json", """{"do_lower_case":true}""");
        Assert.Equal([0, 3, 3], TextTokenizer.Load(folder.Path).Encode("É A a"));
        folder.Write("tokenizer.json", """{"model":{"type":"WordPiece","vocab":{"[UNK]":0,"É":1,"A":2,"a":3}}"""
            + ""","normalizer":{"type":"BertNormalizer","lowercase":false},"pre_tokenizer":{"type":"BertPreTokenizer"}}""");
        Assert.Equal([1, 2, 3], TextTokenizer.Load(folder.Path).Encode("É A a"));
    }

    private string Refusal() => Assert.Throws<NibbleException>(() => TextTokenizer.Load(folder.Path)).Message;

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

        folder.Write(
            "tokenizer.json",
            $$"""
            {"model":{"type":"BPE","vocab":{{JsonSerializer.Serialize(vocabulary)}},"merges":[{{merges}}]},
             "added_tokens":[{"id":260,"content":"<|end|>","special":true}],
             "pre_tokenizer":{"type":"Sequence","pretokenizers":[
               {"type":"Split","pattern":{"Regex":"(?i:'s|'t)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},"behavior":"Isolated","invert":false},
               {"type":"ByteLevel","add_prefix_space":false,"use_regex":false} ] } }
            """);
        return TextTokenizer.Load(folder.Path);
    }
}
