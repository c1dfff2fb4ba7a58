using System.Globalization;
using Nibble.Tests.Files;
using System.Text.Json.Nodes;

namespace Nibble.Tests.Formats.HuggingFace.Tokenizers;

/// <summary>Whether a <c>tokenizer.json</c> is read as Hugging Face's own library reads it.</summary>
public sealed class RustTokenizerTests : IDisposable
{
    private const string Llama3 = @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    private const string Tekken = @"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
        + @"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    public static TheoryData<string> Steps { get; } =
    [
        TinyTokenizers.Gpt2,
        TinyTokenizers.Digits,
        TinyTokenizers.Splits(Llama3),
        TinyTokenizers.Splits(Tekken),
        TinyTokenizers.Sequence(TinyTokenizers.Split(Tekken, "Removed", invert: true)),
        TinyTokenizers.Splits(
            @"\p{N}{1,3}",
            "[一-龥぀-ゟ゠-ヿ]+",
            "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| "
            + "?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"),
        TinyTokenizers.Splits(@"\s+$", @"^\p{L}"),
        """{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"String":"the"},"behavior":"Isolated","invert":false}"""
            + """,{"type":"Digits","individual_digits":false},{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true}]}""",
    ];

    [Theory]
    [MemberData(nameof(Steps))]
    public void TextsAreSplitAlike(string steps) => AreTheSame(TinyTokenizers.ByteLevel(steps));

    [Theory]
    [InlineData("""{"type":"NFC"}""")]
    [InlineData("""{"type":"NFD"}""")]
    [InlineData("""{"type":"Sequence","normalizers":[]}""")]
    [InlineData("""{"type":"Sequence","normalizers":[{"type":"NFD"},{"type":"NFC"}]}""")]
    public void CharactersAreComposedAndTakenApartAlike(string normalizer)
    {
        var json = TinyTokenizers.ByteLevel();
        json["normalizer"] = JsonNode.Parse(normalizer);
        json["added_tokens"]!.AsArray().Add(TinyTokenizers.Added("é!", 400, special: false, normalized: true));
        AreTheSame(json);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void WordsThatAreTokensAreTakenAlike(bool ignoresMerges)
    {
        // Tokens that no merge makes.
        var json = TinyTokenizers.ByteLevel();
        json["model"]!["ignore_merges"] = ignoresMerges;
        foreach (var token in (string[])["Ġ12", "!!!", "aaaaaaaaaaaaaaa", "æĹ¥æľ¬èªŀæĹ¥æľ¬"])
        {
            json["model"]!["vocab"]![token] = json["model"]!["vocab"]!.AsObject().Count;
        }

        AreTheSame(json);
    }

    [Theory]
    [InlineData(false, false, false)]
    [InlineData(true, false, false)]
    [InlineData(false, true, false)]
    [InlineData(false, false, true)]
    [InlineData(true, true, true)]
    public void AddedTokensAreFoundAlike(bool singleWord, bool lstrip, bool rstrip)
    {
        var json = TinyTokenizers.ByteLevel();
        var vocabulary = json["model"]!["vocab"]!.AsObject();
        var free = vocabulary.Count;
        foreach (var text in (string[])["<mask>", "x's", "x's d", "34", "   ", "e\u0301"])
        {
            var id = vocabulary[text]?.GetValue<int>() ?? free++;
            json["added_tokens"]!.AsArray().Add(
                TinyTokenizers.Added(text, id, special: text == "<mask>", singleWord, lstrip, rstrip, normalized: text == "x's"));
        }

        AreTheSame(json);
    }

    /// <summary>Every character beside a token that must stand alone: which are parts of words is Unicode's to say.</summary>
    [Fact]
    public void WhatIsPartOfAWordIsTheSame()
    {
        var json = TinyTokenizers.ByteLevel();
        json["added_tokens"]!.AsArray().Add(TinyTokenizers.Added("<mask>", json["model"]!["vocab"]!.AsObject().Count, singleWord: true));
        var (ours, theirs) = RustTokenizer.Open(folder, json);
        using var _ = theirs;
        var different = Enumerable.Range(1, 0x2FFFF).Where(value => value is not (>= 0xD800 and <= 0xDFFF) && IsAssigned(value)).Where(value =>
        {
            var text = $"<mask>{char.ConvertFromUtf32(value)}";
            return !theirs.Encode(text).SequenceEqual(ours.Encode(text));
        });
        Assert.Empty(different.Select(value => $"U+{value:X4} {CharUnicodeInfo.GetUnicodeCategory(value)}"));

        static bool IsAssigned(int value) => CharUnicodeInfo.GetUnicodeCategory(value) is not (UnicodeCategory.OtherNotAssigned or UnicodeCategory.OtherLetter);
    }

    [Theory]
    [InlineData("""{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]}""", "null")]
    [InlineData("""{"type":"Replace","pattern":{"String":" "},"content":"▁"}""", "null")]
    [InlineData("""{"type":"Replace","pattern":{"String":" "},"content":"▁"}""",
        """{"type":"Split","pattern":{"String":" "},"behavior":"MergedWithPrevious","invert":false}""")]
    [InlineData("null", """{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":false}""")]
    [InlineData("null", """{"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":false}""")]
    [InlineData("null", """{"type":"Metaspace","replacement":"▁","prepend_scheme":"never","split":false}""")]
    public void SentencePieceModelsAreMergedAlike(string normalizer, string preTokenizer) =>
        AreTheSame(TinyTokenizers.SentencePiece(normalizer, preTokenizer));

    [Fact]
    public void WhatHasNeitherPieceNorBytesIsUnknownAlike()
    {
        var json = TinyTokenizers.SentencePiece("""{"type":"Replace","pattern":{"String":" "},"content":"▁"}""");
        foreach (var token in json["model"]!["vocab"]!.AsObject().Select(token => token.Key)
            .Where(token => token.StartsWith("<0x", StringComparison.Ordinal)).ToList())
        {
            json["model"]!["vocab"]!.AsObject().Remove(token);
        }

        AreTheSame(json);
    }

    [Theory]
    [InlineData("""{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true}""")]
    [InlineData("""{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":false}""")]
    [InlineData("""{"type":"BertNormalizer","clean_text":false,"handle_chinese_chars":false,"strip_accents":false,"lowercase":true}""")]
    [InlineData("""{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":false,"strip_accents":true,"lowercase":false}""")]
    [InlineData("null")]
    public void WordsAreSpelledAlike(string normalizer)
    {
        var json = TinyTokenizers.WordPiece(normalizer);
        json["added_tokens"]!.AsArray().Add(TinyTokenizers.Added("<mask>", 57, lstrip: true));
        AreTheSame(json);
    }

    /// <summary>Every character alone, and behind and before others with which it could compose.</summary>
    [Theory]
    [InlineData("NFC")]
    [InlineData("NFD")]
    public void EveryCharacterIsNormalizedAlike(string form)
    {
        var json = TinyTokenizers.ByteLevel();
        json["normalizer"] = JsonNode.Parse($$"""{"type":"{{form}}"}""");
        json["model"]!["merges"] = new JsonArray();
        var (ours, theirs) = RustTokenizer.Open(folder, json);
        using var _ = theirs;
        for (var first = 0x80; first < 0x30000; first += 0x400)
        {
            var characters = Enumerable.Range(first, 0x400).Where(value => value is not (>= 0xD800 and <= 0xDFFF)).Select(char.ConvertFromUtf32).ToArray();
            foreach (var text in (string[])[string.Join(' ', characters), string.Join(" a\u0323", characters), string.Join("\u0301\u0327 \u0315", characters)])
            {
                Assert.Equal(theirs.Encode(text), ours.Encode(text));
            }
        }
    }

    private void AreTheSame(JsonObject json)
    {
        var (ours, theirs) = RustTokenizer.Open(folder, json);
        using var _ = theirs;
        Assert.All(TinyTokenizers.Texts, text => Assert.Equal(theirs.Encode(text), ours.Encode(text)));
        TinyTokenizers.AnyText.Sample(text => Assert.Equal(theirs.Encode(text), ours.Encode(text)), iter: 400, threads: 1);
    }
}
