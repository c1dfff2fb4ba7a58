using Nibble.Tests.Files;
using System.Text.Json.Nodes;
using Nibble.Formats.Gguf;
using Nibble.Formats.HuggingFace;
using Nibble.Formats.HuggingFace.Tokenizers;
using Nibble.Tests.Formats.HuggingFace.Tokenizers;

namespace Nibble.Tests.Formats.Gguf;

public sealed class GgufTokenizerTests : IDisposable
{
    private const int Vocabulary = 512;
    private const string Llama3 = @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    public static TheoryData<string> Names { get; } = [.. GgufPreTokenizer.All.Select(known => known.Name)];

    [Fact]
    public void NamesAreWrittenOnceAndKnownInTheFormsOfTheirTime()
    {
        Assert.Equal(["gpt-2", "smollm", "llama-bpe", "dbrx", "qwen2", "qwen35", "tekken", "gpt-4o", "deepseek-v3", "deepseek-coder"],
            GgufPreTokenizer.All.Select(known => known.Name));
        var all = GgufPreTokenizer.All.SelectMany(known => known.Names).ToList();
        Assert.Equal(all.Count, all.Distinct().Count());
        Assert.Same(GgufPreTokenizer.Find("smollm"), GgufPreTokenizer.Find("command-r"));
        Assert.Null(GgufPreTokenizer.Find("default"));
    }

    /// <summary>What a file of each name becomes is written as that name again, and tokenizes.</summary>
    [Theory]
    [MemberData(nameof(Names))]
    public void TokenizersOfEachNameComeBack(string name)
    {
        var known = GgufPreTokenizer.Find(name)!;
        var json = TinyTokenizers.ByteLevel(TinyTokenizers.Splits(known.Patterns));
        json["model"]!["ignore_merges"] = known.IgnoresMerges;
        json["model"]!["vocab"]!["Ġnowhere"] = 400;
        json["post_processor"] = JsonNode.Parse("""{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}},{"Sequence":{"id":"A"}}]"""
            + ""","special_tokens":{"<s>":{"ids":[0]}}}""");
        folder.Write("tokenizer.json", json.ToJsonString());
        folder.Write("generation_config.json", """{"eos_token_id":[1,5,7]}""");
        var original = TextTokenizer.Load(folder.Path);
        var written = GgufTokenizer.Read(folder.Path, Vocabulary);
        Assert.Equal(name, Find(written, "pre").AsText());
        Assert.Equal((0L, true, false), (Find(written, "bos_token_id").AsInteger(), Find(written, "add_bos_token").AsBool(),
            Find(written, "add_eos_token").AsBool()));

        var imported = Import(written.Metadata);
        Assert.Equal((original.StartId, original.EndId), (imported.StartId, imported.EndId));
        Assert.All(TinyTokenizers.Texts, text => Assert.Equal(original.Encode(text), imported.Encode(text)));
        Assert.Equal(Texts(written), Texts(GgufTokenizer.Read(folder.File("imported"), Vocabulary)));
    }

    [Fact]
    public void FurtherEndsOfTextsAreWrittenAsFarAsThereArePlaces()
    {
        folder.Write("tokenizer.json", TinyTokenizers.ByteLevel().ToJsonString());
        folder.Write("tokenizer_config.json", """{"eos_token":"</s>"}""");
        folder.Write("generation_config.json", """{"eos_token_id":[1,5,7,9]}""");
        var written = GgufTokenizer.Read(folder.Path, Vocabulary);
        Assert.Equal((1L, 5L, 7L), (Find(written, "eos_token_id").AsInteger(), Find(written, "eot_token_id").AsInteger(),
            Find(written, "eom_token_id").AsInteger()));
        Assert.Contains("9 are left out", Assert.Single(written.Notes), StringComparison.Ordinal);
        Assert.Equal([1, 5, 7], Import(written.Metadata).StopIds);
    }

    /// <summary>The same pattern has two names in llama.cpp, of which one takes words that are tokens as they are.</summary>
    [Theory]
    [InlineData(true, true, "llama-bpe")]
    [InlineData(true, false, "llama-bpe")]
    [InlineData(false, false, "llama-bpe")]
    [InlineData(false, true, "dbrx")]
    public void IgnoringMergesDecidesWhereItMakesADifference(bool ignoresMerges, bool unreachable, string name)
    {
        var json = TinyTokenizers.ByteLevel(TinyTokenizers.Splits(Llama3));
        json["model"]!["ignore_merges"] = ignoresMerges;
        if (unreachable)
        {
            json["model"]!["vocab"]!["zqz"] = 400;
        }

        folder.Write("tokenizer.json", json.ToJsonString());
        Assert.Equal(name, Find(GgufTokenizer.Read(folder.Path, Vocabulary), "pre").AsText());
    }

    [Fact]
    public void IgnoringMergesWithoutANameIsRefusedWhereItMakesADifference()
    {
        var json = TinyTokenizers.ByteLevel();
        json["model"]!["ignore_merges"] = true;
        folder.Write("tokenizer.json", json.ToJsonString());
        Assert.Equal("gpt-2", Find(GgufTokenizer.Read(folder.Path, Vocabulary), "pre").AsText());
        json["model"]!["vocab"]!["zqz"] = 400;
        folder.Write("tokenizer.json", json.ToJsonString());
        Assert.Contains("model.ignore_merges is true, which affects tokens such as 'zqz'", Refusal(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("normalizer", """{"type":"NFC"}""", "composes characters (NFC)")]
    [InlineData("added_tokens", """[{"id":400,"content":"<mask>","lstrip":true,"special":true}]""", "the token '<mask>' absorbs the spaces next to it")]
    public void WhatTheEngineDoesOtherwiseIsTold(string key, string value, string note)
    {
        var json = TinyTokenizers.ByteLevel();
        json[key] = JsonNode.Parse(value);
        folder.Write("tokenizer.json", json.ToJsonString());
        Assert.Contains(note, Assert.Single(GgufTokenizer.Read(folder.Path, Vocabulary).Notes), StringComparison.Ordinal);
    }

    /// <summary>llama.cpp's own patterns for these do not count marks to words.</summary>
    [Theory]
    [InlineData("tekken", 1)]
    [InlineData("gpt-4o", 1)]
    [InlineData("qwen35", 0)]
    public void PatternsThatTheEngineHasOnlyNearlyAreTold(string name, int notes)
    {
        folder.Write("tokenizer.json", TinyTokenizers.ByteLevel(TinyTokenizers.Splits(GgufPreTokenizer.Find(name)!.Patterns)).ToJsonString());
        Assert.Equal(notes, GgufTokenizer.Read(folder.Path, Vocabulary).Notes.Count(note => note.Contains("marks", StringComparison.Ordinal)));
    }

    [Fact]
    public void WhatTheEngineCannotBeToldIsRefused()
    {
        folder.Write("tokenizer.json", TinyTokenizers.ByteLevel(TinyTokenizers.Splits("[a-z]+")).ToJsonString());
        Assert.Contains("splits text into words by [a-z]+, for which Nibble knows no llama.cpp name", Refusal(), StringComparison.Ordinal);
        folder.Write("tokenizer.json", TinyTokenizers.WordPiece("null").ToJsonString());
        Assert.Contains("its tokenizer is WordPiece", Refusal(), StringComparison.Ordinal);
        folder.Write("tokenizer.json", TinyTokenizers.ByteLevel().ToJsonString());
        Assert.Contains("has 400 tokens, expected at most the 100", Refusal(100), StringComparison.Ordinal);
        var twice = TinyTokenizers.ByteLevel();
        twice["added_tokens"]!.AsArray().Add(TinyTokenizers.Added("[PAD401]", 400));
        folder.Write("tokenizer.json", twice.ToJsonString());
        Assert.Contains("two tokens '[PAD401]', which llama.cpp refuses", Refusal(), StringComparison.Ordinal);
    }

    [Fact]
    public void AListOfMergesBecomesScoresWhereTheyCanSayTheSame()
    {
        const string normalizer = """{"type":"Replace","pattern":{"String":" "},"content":"▁"}""";
        var json = TinyTokenizers.SentencePiece(normalizer);
        folder.Write("tokenizer.json", json.ToJsonString());
        folder.Write("tokenizer_config.json", """{"bos_token":"<s>","eos_token":"</s>","add_bos_token":true}""");
        var original = TextTokenizer.Load(folder.Path);
        var written = GgufTokenizer.Read(folder.Path, Vocabulary);
        Assert.Equal(("llama", false), (Find(written, "model").AsText(), Find(written, "add_space_prefix").AsBool()));
        var imported = Import(written.Metadata);
        Assert.Equal((1, 2, 1), (imported.BosId, imported.EosId, imported.StartId));
        Assert.All(TinyTokenizers.Texts, text => Assert.Equal(original.Encode(text), imported.Encode(text)));

        // One way to make a token is left out: scores would take it.
        var merges = json["model"]!["merges"]!.AsArray();
        var all = merges.Select(merge => merge![0]!.GetValue<string>() + merge[1]!.GetValue<string>()).ToList();
        merges.RemoveAt(all.FindIndex(made => all.Count(other => other == made) > 1));
        folder.Write("tokenizer.json", json.ToJsonString());
        Assert.Contains("which the scores of a GGUF file's SentencePiece model cannot represent", Refusal(), StringComparison.Ordinal);

        // The model that it was made from has scores of its own.
        var pieces = ((SentencePieceTokens)TextTokenizer.Load(folder.Path).Content.Model).Model.Pieces;
        new SentencePieceModel([.. pieces.Select((piece, id) => piece with { Score = -2 * id })], BlankBefore.Never, 0, 1,
            2).Write(folder.File("tokenizer.model"));
        Assert.Equal(-2f * 300, Find(GgufTokenizer.Read(folder.Path, Vocabulary), "scores").AsFloats()![300]);
    }

    /// <summary>What llama.cpp does where a file leaves it out.</summary>
    [Theory]
    [InlineData("llama-bpe", null, 0)]
    [InlineData("tekken", null, 0)]
    [InlineData("qwen2", null, null)]
    [InlineData("qwen2", true, 0)]
    [InlineData("llama-bpe", false, null)]
    public void AFileThatDoesNotTellMeansWhatTheEngineDoes(string pre, bool? adds, int? start)
    {
        folder.Write("tokenizer.json", TinyTokenizers.ByteLevel().ToJsonString());
        folder.Write("tokenizer_config.json", """{"bos_token":"<s>"}""");
        var metadata = GgufTokenizer.Read(folder.Path, Vocabulary).Metadata
            .Where(entry => entry.Key != "tokenizer.ggml.add_bos_token" && entry.Key != "tokenizer.ggml.pre")
            .Append(new("tokenizer.ggml.pre", GgufValue.Of(pre)))
            .Concat(adds is { } flag ? [new KeyValuePair<string, GgufValue>("tokenizer.ggml.add_bos_token", GgufValue.Of(flag))] : []);
        Assert.Equal(start, Import([.. metadata]).StartId);
    }

    private static GgufValue Find(GgufTokenizer tokenizer, string key) => tokenizer.Metadata.Single(entry => entry.Key == "tokenizer.ggml." + key).Value;

    private static IEnumerable<string> Texts(GgufTokenizer tokenizer) => tokenizer.Metadata.Select(entry => entry.Key);

    private string Refusal(int vocabulary = Vocabulary) => Assert.Throws<NibbleException>(() => GgufTokenizer.Read(folder.Path, vocabulary)).Message;

    /// <summary>Writes metadata to a file and takes the tokenizer out of it.</summary>
    private TextTokenizer Import(IReadOnlyList<KeyValuePair<string, GgufValue>> metadata)
    {
        GgufWriter.Write(folder.File("tokens.gguf"), metadata, []);
        Directory.CreateDirectory(folder.File("imported"));
        using var file = GgufFile.Open(folder.File("tokens.gguf"));
        GgufTokenizerFiles.Write(file, folder.File("imported"));
        return TextTokenizer.Load(folder.File("imported"));
    }
}
