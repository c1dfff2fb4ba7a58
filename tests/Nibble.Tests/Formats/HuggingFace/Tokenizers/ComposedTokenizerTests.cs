using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using Nibble.Formats.HuggingFace.Tokenizers;
using Nibble.Tests.Files;

namespace Nibble.Tests.Formats.HuggingFace.Tokenizers;

/// <summary>Whether each part that <c>tokenizer.json</c> can hold does what it does in Hugging Face's own library.</summary>
public sealed class ComposedTokenizerTests : IDisposable
{
    private const string Bytes = """{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}""";

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    public static TheoryData<string> Normalizers { get; } =
    [
        """{"type":"NFC"}""", """{"type":"NFD"}""", """{"type":"NFKC"}""", """{"type":"NFKD"}""", """{"type":"Nmt"}""", """{"type":"Lowercase"}""",
        """{"type":"StripAccents"}""", """{"type":"Strip","strip_left":true,"strip_right":true}""",
        """{"type":"Strip","strip_left":true,"strip_right":false}""",
        """{"type":"Strip","strip_left":false,"strip_right":true}""", """{"type":"Prepend","prepend":"x "}""",
        """{"type":"Replace","pattern":{"String":"the"},"content":"a 12"}""", """{"type":"Replace","pattern":{"Regex":" {2,}|\\p{N}+$"},"content":" "}""",
        """{"type":"Replace","pattern":{"Regex":"x*"},"content":"-"}""", """{"type":"ByteLevel"}""",
        """{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true}""",
        """{"type":"Sequence","normalizers":[{"type":"NFD"},{"type":"Lowercase"},{"type":"StripAccents"}"""
        + """,{"type":"Sequence","normalizers":[{"type":"NFKC"}]}]}""",
    ];

    [Theory]
    [MemberData(nameof(Normalizers))]
    public void TextsAreNormalizedAlike(string normalizer)
    {
        var json = TinyTokenizers.SentencePiece(normalizer);
        json["added_tokens"]!.AsArray().Add(TinyTokenizers.Added("ÉCOLE x", json["model"]!["vocab"]!.AsObject().Count, special: false, normalized: true));
        AreTheSame(json);
    }

    /// <summary>Every character that has changed neither its category nor its meaning since Unicode 9, alone and before others.</summary>
    [Theory]
    [InlineData("NFKC")]
    [InlineData("NFKD")]
    [InlineData("StripAccents")]
    [InlineData("Lowercase")]
    public void EveryCharacterIsNormalizedAlike(string form)
    {
        var json = TinyTokenizers.SentencePiece($$"""{"type":"{{form}}"}""");
        json["model"]!["merges"] = new JsonArray();
        var (ours, theirs) = RustTokenizer.Open(folder, json);
        using var _ = theirs;
        var different = Enumerable.Range(0x80, 0x2FF80).Where(value => value is not (>= 0xD800 and <= 0xDFFF)).Where(value =>
        {
            var text = $"a{char.ConvertFromUtf32(value)}\u0323";
            return CharUnicodeInfo.GetUnicodeCategory(value) != UnicodeCategory.OtherNotAssigned && value is not (>= 0x3400 and <= 0x9FFF)
                and not (>= 0x20000 and <= 0x2F7FF) && !theirs.Encode(text).SequenceEqual(ours.Encode(text));
        });
        Assert.Empty(different.Select(value => $"U+{value:X4} {CharUnicodeInfo.GetUnicodeCategory(value)}"));
    }

    /// <summary>Every character between others, at which a step may split.</summary>
    [Theory]
    [InlineData("""{"type":"Punctuation"}""")]
    [InlineData("""{"type":"Digits","individual_digits":true}""")]
    [InlineData("""{"type":"WhitespaceSplit"}""")]
    [InlineData("""{"type":"Whitespace"}""")]
    public void EveryCharacterSplitsAlike(string step)
    {
        // A merge shows whether a split lies between.
        var json = TinyTokenizers.SentencePiece("null", step);
        json["model"]!["ignore_merges"] = true;
        var vocabulary = json["model"]!["vocab"]!.AsObject();
        var characters = Enumerable.Range(0x21, 0x2FFDF).Where(value => value is not (>= 0xD800 and <= 0xDFFF) and not (>= 0x3400 and <= 0x9FFF)
            and not (>= 0x20000 and <= 0x2F7FF) && CharUnicodeInfo.GetUnicodeCategory(value) != UnicodeCategory.OtherNotAssigned).ToList();
        characters.ForEach(value => vocabulary.TryAdd($"q{char.ConvertFromUtf32(value)}", vocabulary.Count));
        var (ours, theirs) = RustTokenizer.Open(folder, json);
        using var _ = theirs;
        var different = characters.Where(value =>
            $"q{char.ConvertFromUtf32(value)}" is var text && !theirs.Encode(text).SequenceEqual(ours.Encode(text)));
        Assert.Equal(string.Empty, string.Join(' ', different.Select(value => $"{value:X}")));
    }

    public static TheoryData<string> PreTokenizers { get; } =
    [
        "null", """{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}""",
        """{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":false}""",
        """{"type":"Sequence","pretokenizers":[{"type":"Punctuation","behavior":"Contiguous"},""" + Bytes + "]}",
        """{"type":"Sequence","pretokenizers":[{"type":"WhitespaceSplit"},{"type":"Digits","individual_digits":false},{"type":"Punctuation"}]}""",
        """{"type":"Sequence","pretokenizers":[""" + Bytes + """,{"type":"Digits","individual_digits":true}]}""",
        """{"type":"Whitespace"}""", """{"type":"WhitespaceSplit"}""", """{"type":"BertPreTokenizer"}""", """{"type":"CharDelimiterSplit","delimiter":"e"}""",
        """{"type":"Digits","individual_digits":true}""", """{"type":"Digits","individual_digits":false}""",
        """{"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":true}""",
        """{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":true}""",
        """{"type":"Metaspace","replacement":"▁","prepend_scheme":"never","split":true}""",
        """{"type":"Metaspace","replacement":"▁","add_prefix_space":true}""",
        """{"type":"Metaspace","replacement":"x","prepend_scheme":"first","split":false}""",
        """{"type":"Sequence","pretokenizers":[{"type":"WhitespaceSplit"},{"type":"Metaspace","replacement":"▁","prepend_scheme":"always"}]}""",
    ];

    [Theory]
    [MemberData(nameof(PreTokenizers))]
    public void TextsAreSplitAlike(string steps)
    {
        var json = TinyTokenizers.SentencePiece("null", steps);
        json["added_tokens"]!.AsArray().Add(TinyTokenizers.Added("x's", json["model"]!["vocab"]!.AsObject().Count, special: false, normalized: true));
        AreTheSame(json);
    }

    [Theory]
    [InlineData("Removed")]
    [InlineData("Isolated")]
    [InlineData("MergedWithPrevious")]
    [InlineData("MergedWithNext")]
    [InlineData("Contiguous")]
    public void MatchesAreTreatedAlike(string behavior)
    {
        foreach (var invert in (bool[])[false, true])
        {
            foreach (var pattern in (string[])["\\s", "\\p{L}+|\\p{N}", "x*", "\\s+(?!\\S)", "[aeiou]"])
            {
                AreTheSame(TinyTokenizers.SentencePiece("null", TinyTokenizers.Split(pattern, behavior, invert).ToJsonString()), times: 60);
            }

            var literal = TinyTokenizers.Split(string.Empty, behavior, invert);
            literal["pattern"] = new JsonObject { ["String"] = "e" };
            AreTheSame(TinyTokenizers.SentencePiece("null", literal.ToJsonString()), times: 60);
            AreTheSame(TinyTokenizers.SentencePiece("null", $$"""{"type":"Punctuation","behavior":"{{behavior}}"}"""), times: 60);
        }
    }

    [Theory]
    [InlineData(true, true, "", "")]
    [InlineData(true, false, "", "")]
    [InlineData(false, true, "", "")]
    [InlineData(false, false, "", "")]
    [InlineData(false, false, "", "</w>")]
    [InlineData(false, true, "##", "</w>")]
    public void BytePairsAreMergedAlike(bool falls, bool fuses, string prefix, string suffix)
    {
        var json = TinyTokenizers.SentencePiece("null", """{"type":"WhitespaceSplit"}""");
        var model = json["model"]!.AsObject();
        (model["byte_fallback"], model["fuse_unk"], model["continuing_subword_prefix"], model["end_of_word_suffix"]) = (falls, fuses, prefix, suffix);
        var vocabulary = model["vocab"]!.AsObject();
        if (prefix.Length + suffix.Length > 0)
        {
            model["merges"] = new JsonArray();
            foreach (var token in (string[])["t", "##h", "##e", "##x</w>", "t</w>", "h", "e</w>", "x</w>", "th", "##he", "the", "##e</w>", "fox</w>"])
            {
                vocabulary.TryAdd(token, vocabulary.Count);
            }

            model["merges"]!.AsArray().Add(new JsonArray("t", prefix + "h"));
        }
        else
        {
            // Some bytes are missing, so that unknown characters lie between known bytes.
            foreach (var value in (string[])["<0xF0>", "<0xE0>"])
            {
                vocabulary.Remove(value);
            }
        }

        AreTheSame(json);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void TheMostProbablePiecesAreTheSame(bool falls)
    {
        AreTheSame(Unigram(falls, """{"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":true}"""));
        AreTheSame(Unigram(falls, "null"));
    }

    [Theory]
    [InlineData("##", """{"type":"Whitespace"}""")]
    [InlineData("@@", """{"type":"BertPreTokenizer"}""")]
    public void WordsAreSpelledAlike(string prefix, string steps)
    {
        var json = TinyTokenizers.WordPiece("""{"type":"NFKC"}""");
        json["pre_tokenizer"] = JsonNode.Parse(steps);
        json["model"]!["continuing_subword_prefix"] = prefix;
        AreTheSame(json);
        json["model"]!["type"] = "WordLevel";
        AreTheSame(json);
    }

    [Theory]
    [InlineData("""{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"}"""
        + """,{"type":"Strip","content":" ","start":1,"stop":0}]}""")]
    [InlineData("""{"type":"Sequence","decoders":[{"type":"ByteFallback"},{"type":"Metaspace","replacement":"▁","prepend_scheme":"always"}]}""")]
    [InlineData("""{"type":"Metaspace","replacement":"▁","prepend_scheme":"never"}""")]
    [InlineData("""{"type":"WordPiece","prefix":"##","cleanup":true}""")]
    [InlineData("""{"type":"WordPiece","prefix":"e","cleanup":false}""")]
    [InlineData("""{"type":"BPEDecoder","suffix":"e"}""")]
    [InlineData("""{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}""")]
    [InlineData("""{"type":"Replace","pattern":{"Regex":"[aeiou]+"},"content":"_"}""")]
    public void TokensBecomeTheSameText(string decoder)
    {
        var json = TinyTokenizers.SentencePiece("""{"type":"Replace","pattern":{"String":" "},"content":"▁"}""");
        json["decoder"] = JsonNode.Parse(decoder);
        AreTheSame(json);
        json["model"]!["fuse_unk"] = false;
        AreTheSame(json);
    }

    [Fact]
    public void CharactersAreRewrittenAlike()
    {
        var map = CharacterMap([("\t", " "), ("\r\n", "\n"), ("ﬁ", "fi"), ("é", "e"),
            ("e\u0301", "E"), ("㎏", "kg"), ("ａ", "a"), ("\u200b", ""), ("🙂", ":)"), ("क", "ka")]);
        var json = TinyTokenizers.SentencePiece("null");
        json["normalizer"] = new JsonObject { ["type"] = "Precompiled", ["precompiled_charsmap"] = map };
        AreTheSame(json, ["\t\r\n\r\nﬁé e\u0301e\u0301\u0323 ㎏ａ\u200bx 🙂 कि क् ﬁ\u0301", "\u200b", "\t\u0301"]);
    }

    /// <summary>A trie in SentencePiece's layout, with a block of 256 units for the children of each node.</summary>
    private static string CharacterMap((string From, string To)[] entries)
    {
        var (units, texts) = (new List<uint>(new uint[256]), new List<byte>());
        Write(0, 0, [.. entries.Select(entry => (Encoding.UTF8.GetBytes(entry.From), entry.To))]);
        var bytes = new List<byte>(BitConverter.GetBytes(units.Count * sizeof(uint)));
        units.ForEach(unit => bytes.AddRange(BitConverter.GetBytes(unit)));
        bytes.AddRange(texts);
        return Convert.ToBase64String([.. bytes]);

        void Write(int node, byte label, List<(byte[] Left, string To)> below)
        {
            var start = units.Count;
            units.AddRange(new uint[256]);
            units[node] = label | ((uint)(node ^ start) << 10);
            if (below.FindIndex(entry => entry.Left.Length == 0) is >= 0 and var leaf)
            {
                units[node] |= 1 << 8;
                units[start] = (uint)texts.Count | 0x80000000;
                texts.AddRange([.. Encoding.UTF8.GetBytes(below[leaf].To), 0]);
            }

            foreach (var group in below.Where(entry => entry.Left.Length > 0).GroupBy(entry => entry.Left[0]))
            {
                Write(start ^ group.Key, group.Key, [.. group.Select(entry => (entry.Left[1..], entry.To))]);
            }
        }
    }

    private static JsonObject Unigram(bool falls, string steps)
    {
        var json = TinyTokenizers.SentencePiece("null", steps);
        var pieces = new JsonArray();
        foreach (var (token, id) in json["model"]!["vocab"]!.AsObject())
        {
            pieces.Add(new JsonArray(token, -(id!.GetValue<int>() % 37 / 4.0) - 1));
        }

        json["model"] = new JsonObject { ["type"] = "Unigram", ["unk_id"] = 0, ["byte_fallback"] = falls, ["vocab"] = pieces };
        return json;
    }

    private void AreTheSame(JsonObject json, IReadOnlyList<string>? texts = null, int times = 300)
    {
        var (ours, theirs) = RustTokenizer.Open(folder, json);
        using var _ = theirs;
        var marks = ours.Content.Added.Where(token => token.Special).Select(token => token.Id).ToHashSet();
        Assert.All(texts ?? TinyTokenizers.Texts, Same);
        TinyTokenizers.AnyText.Sample(Same, iter: times, threads: 1);

        void Same(string text)
        {
            var ids = theirs.Encode(text);
            Assert.Equal(ids, ours.Encode(text));
            int[] plain = [.. ids.Where(id => !marks.Contains(id))];
            if (plain.Length > 0 && (json["decoder"] is not null || ours.Content.Model is ComposedModel))
            {
                Assert.Equal(theirs.Decode(plain), ours.Decode(plain));
            }
        }
    }
}
