using System.Text.Json.Nodes;
using Nibble.Samples.Storyteller;

namespace Nibble.Tests.Formats.HuggingFace.Tokenizers;

/// <summary>Small <c>tokenizer.json</c> files of each kind, trained on a few sentences, to be changed by tests.</summary>
internal static class TinyTokenizers
{
    public const string Gpt2 = """{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}""";
    public const string Digits = """{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true}"""
        + """,{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}]}""";

    private const string Text =
        "The fox's 12 den isn't 345 m away!!  It'll  see   the sun.\n\n\tDon't say 'no' to 日本語 or 日本 and naïve café, 99 times; ÉCOLE école.\r\n"
        + "the thethethe foxfox XMLHttp aaaa 1234567 ... !!! 🙂🙂 हिन्दी किताब مرحبا Привет привет   end\n";

    // Characters that no version of Unicode since 8.0 has added or moved to another category: libraries differ in their versions.
    private static readonly (int First, int Last)[] Old =
    [
        (0xA0, 0x36F), (0x400, 0x52F), (0x5D0, 0x5EA), (0x620, 0x669), (0x904, 0x96F), (0x1100, 0x11FF), (0x1E00, 0x1FFC), (0x2000, 0x2064),
        (0x20A0, 0x20BD), (0x2100, 0x2189), (0x2200, 0x23FA), (0x2500, 0x27BF), (0x3000, 0x30FF), (0x4E00, 0x9FCC), (0xAC00, 0xD7A3),
        (0xE000, 0xFA6D), (0xFE30, 0xFFEE), (0x1D400, 0x1D7FF), (0x1F300, 0x1F5FF), (0x20000, 0x2A6D6), (0x2F800, 0x2FA1D),
    ];

    /// <summary>What shows where texts are split and how they are merged.</summary>
    public static IReadOnlyList<string> Texts { get; } =
    [
        "", " ", "  ", "a", "The fox's den", "it's He'S we'LL don't", "1234567 12 3", " 12 and 3", "a1b22c", "x  y   z    ", "one!!  two!! 3!!",
        "line\n\n  next\n", "end.\n\n\n1", "\r\n\r\n", "\t12\t\t3",
        "½ ² Ⅷ ٣ ४५", "naïve cafe\u0301 e\u0301\u0323", "日本語日本", "𝐀𝐁𝐂 𝟘𝟙 𠮷野", "a𝐀 𝟘a 😀 👨‍👩‍👧‍👦", "हिन्दी किताब", "नमस्ते दुनिया", "مرحبا بالعالم",
        "ПРИВЕТ привет Привет", "XMLHttpRequest ÉCOLE", "aaaaaaaaaaaaaaa", "9aaa aaa9",
        "<s>", "a<s>b", " <s> x</s>", "<s><s>", "x <mask> y", "the<mask>the", "<mask>", "a\u00a0b\u2003c\u3000d\u0085e", "\u200b\ufeff\u0000x",
        "ſ K İ ı ß ẞ ǅ", "한국어 각 \u1100\u1161\u11a8", "a_b __ c", "foo/bar //\n#/x", "(((", "…—„“",
    ];

    /// <summary>Texts of parts that matter to tokenizers, in any order.</summary>
    public static Gen<string> AnyText { get; } = Gen.OneOf(
            Gen.OneOf(" ", "  ", "\n", "\t", "\r\n", "'s", "'LL", "the", "fox", "12", "345", "!", "...", "日本", "é", "e\u0301", "\u0323", "\u0301", "𝐀",
                "𝟘", "🙂", "हि", "न्", "Привет", "<s>", "</s>", "<mask>", "_", "/", "\u3000", "각", "\u1100\u1161"),
            Gen.Char['a', 'e'].Select(letter => letter.ToString()),
            Gen.OneOf([.. Old.Select(range => Gen.Int[range.First, range.Last])]).Select(char.ConvertFromUtf32))
        .Array[0, 12].Select(string.Concat);

    /// <summary>Byte-level BPE.</summary>
    public static JsonObject ByteLevel(string preTokenizer = Gpt2)
    {
        var root = JsonNode.Parse(BytePairTrainer.Train(Enumerable.Repeat(Text, 2), 400).ToJson())!.AsObject();
        root["pre_tokenizer"] = JsonNode.Parse(preTokenizer);
        root["post_processor"] = null;
        return root;
    }

    /// <summary>SentencePiece BPE as converted for Hugging Face's library: with all pairs that make a token, the better token first.</summary>
    public static JsonObject SentencePiece(string normalizer, string preTokenizer = "null")
    {
        var vocabulary = new JsonObject { ["<unk>"] = 0, ["<s>"] = 1, ["</s>"] = 2 };
        for (var value = 0; value < 256; value++)
        {
            vocabulary[$"<0x{value:X2}>"] = vocabulary.Count;
        }

        var pieces = Pieces();
        foreach (var piece in pieces)
        {
            vocabulary[piece] = vocabulary.Count;
        }

        // The characters themselves come last.
        foreach (var rune in pieces.SelectMany(piece => piece.EnumerateRunes()).Distinct())
        {
            vocabulary.TryAdd(rune.ToString(), vocabulary.Count);
        }

        var merges = new JsonArray();
        foreach (var piece in pieces)
        {
            for (var cut = 1; cut < piece.Length; cut++)
            {
                if (vocabulary.ContainsKey(piece[..cut]) && vocabulary.ContainsKey(piece[cut..]))
                {
                    merges.Add(new JsonArray(piece[..cut], piece[cut..]));
                }
            }
        }

        return new JsonObject
        {
            ["version"] = "1.0",
            ["added_tokens"] = new JsonArray([.. ((string[])["<unk>", "<s>", "</s>"]).Select((text, id) => Added(text, id))]),
            ["normalizer"] = JsonNode.Parse(normalizer),
            ["pre_tokenizer"] = JsonNode.Parse(preTokenizer),
            ["post_processor"] = null,
            ["decoder"] = null,
            ["model"] = new JsonObject
            {
                ["type"] = "BPE",
                ["dropout"] = null,
                ["unk_token"] = "<unk>",
                ["continuing_subword_prefix"] = null,
                ["end_of_word_suffix"] = null,
                ["fuse_unk"] = true,
                ["byte_fallback"] = true,
                ["vocab"] = vocabulary,
                ["merges"] = merges,
            },
        };
    }

    /// <summary>WordPiece.</summary>
    public static JsonObject WordPiece(string normalizer)
    {
        string[] tokens =
        [
            "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "fox", "##s", "'", "s", "12", "3", "##4", "##5", "!", ".", "cafe", "café", "na",
            "##ive", "a", "b", "c", "d", "e", "##a", "##b", "##c", "##d", "##e", "日", "本", "語",
            "ecole", "É", "##C", "##O", "##L", "##E", "x", "##x", "привет", "и", "और", "한", "ᄒ", "##ᅡ", "##ᆫ", "i", "##i", "ss", "_", "/", "🙂", "𠮷", "$", "—",
        ];
        var vocabulary = new JsonObject();
        foreach (var token in tokens)
        {
            vocabulary[token] = vocabulary.Count;
        }

        return new JsonObject
        {
            ["version"] = "1.0",
            ["added_tokens"] = new JsonArray([.. tokens[..5].Select((text, id) => Added(text, id))]),
            ["normalizer"] = JsonNode.Parse(normalizer),
            ["pre_tokenizer"] = JsonNode.Parse("""{"type":"BertPreTokenizer"}"""),
            ["post_processor"] = null,
            ["decoder"] = null,
            ["model"] = new JsonObject
            {
                ["type"] = "WordPiece",
                ["unk_token"] = "[UNK]",
                ["continuing_subword_prefix"] = "##",
                ["max_input_chars_per_word"] = 100,
                ["vocab"] = vocabulary,
            },
        };
    }

    /// <summary>A step of a pre-tokenizer that splits by a regular expression.</summary>
    public static JsonObject Split(string pattern, string behavior = "Isolated", bool invert = false) => new()
    {
        ["type"] = "Split",
        ["pattern"] = new JsonObject { ["Regex"] = pattern },
        ["behavior"] = behavior,
        ["invert"] = invert,
    };

    /// <summary>A pre-tokenizer that splits by several regular expressions, one after the other.</summary>
    public static string Splits(params string[] patterns) => Sequence([.. patterns.Select(pattern => Split(pattern))]);

    /// <summary>A pre-tokenizer of several steps, the last of which writes bytes.</summary>
    public static string Sequence(params JsonNode[] steps) => new JsonObject
    {
        ["type"] = "Sequence",
        ["pretokenizers"] = new JsonArray(
        [
            .. steps,
            JsonNode.Parse("""{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}"""),
        ]),
    }.ToJsonString();

    /// <summary>An added token.</summary>
    public static JsonObject Added(
        string text, int id, bool special = true, bool singleWord = false, bool lstrip = false, bool rstrip = false, bool normalized = false)
    {
        var token = new JsonObject { ["id"] = id, ["content"] = text, ["special"] = special, ["normalized"] = normalized };
        (token["single_word"], token["lstrip"], token["rstrip"]) = (singleWord, lstrip, rstrip);
        return token;
    }

    /// <summary>The most frequent pairs of neighbours of the text, one after the other, with blanks as SentencePiece writes them.</summary>
    private static List<string> Pieces()
    {
        var symbols = Text.Replace(' ', '\u2581').EnumerateRunes().Select(rune => rune.ToString()).ToList();
        var pieces = new List<string>();
        while (pieces.Count < 90)
        {
            var best = symbols.Zip(symbols.Skip(1)).GroupBy(pair => pair).OrderByDescending(group => group.Count())
                .ThenBy(group => group.Key.First + group.Key.Second, StringComparer.Ordinal).First().Key;
            pieces.Add(best.First + best.Second);
            for (var i = 0; i + 1 < symbols.Count; i++)
            {
                if (symbols[i] == best.First && symbols[i + 1] == best.Second)
                {
                    symbols[i] += symbols[i + 1];
                    symbols.RemoveAt(i + 1);
                }
            }
        }

        return [.. pieces.Distinct()];
    }
}
