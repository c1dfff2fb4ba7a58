using Nibble.Tests.Files;
using System.Text.Json.Nodes;
using Nibble.Formats.HuggingFace;

namespace Nibble.Tests.Formats.HuggingFace.Tokenizers;

/// <summary>What a tokenizer's own files say about tokens around texts, in the forms in which they come.</summary>
public sealed class SpecialTokensTests : IDisposable
{
    private const string Template = """{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}}"""
        + """,{"Sequence":{"id":"A","type_id":0}}],"special_tokens":{"<s>":{"id":"<s>","ids":[0],"tokens":["<s>"]}}}""";
    private const string EndTemplate = """{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}}"""
        + """,{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"</s>","type_id":0}}],"special_tokens":{"<s>":{"ids":[0]},"</s>":{"ids":[1]}}}""";
    private const string ByteLevel = """{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":false}""";

    private readonly TemporaryFolder folder = new();

    public SpecialTokensTests() => folder.Write("config.json", """{"bos_token_id":5,"eos_token_id":6}""");

    public void Dispose() => folder.Dispose();

    /// <summary>SmolLM2, Qwen 2.5, GPT-2, Llama 3.1, Nemo, DeepSeek V3, Command R; then flags and classes against templates.</summary>
    [Theory]
    [InlineData(ByteLevel, """{"tokenizer_class":"GPT2Tokenizer","bos_token":"<s>","eos_token":"</s>","add_prefix_space":false}""", 0, 1, null, null)]
    [InlineData(ByteLevel, """{"tokenizer_class":"Qwen2Tokenizer","bos_token":null,"eos_token":"</s>","add_bos_token":false}""", 5, 1, null, null)]
    [InlineData("null", """{"bos_token":"</s>","eos_token":"</s>"}""", 1, 1, null, null)]
    [InlineData("""{"type":"Sequence","processors":[{"type":"ByteLevel"},TEMPLATE]}""",
        """{"tokenizer_class":"PreTrainedTokenizerFast","bos_token":"<s>","eos_token":"</s>"}""", 0, 1, 0, null)]
    [InlineData("TEMPLATE", """{"tokenizer_class":"PreTrainedTokenizerFast","bos_token":"<s>","eos_token":"</s>","add_bos_token":true"""
        + ""","add_eos_token":false}""", 0, 1, 0, null)]
    [InlineData(ByteLevel, """{"tokenizer_class":"LlamaTokenizerFast","bos_token":{"__type":"AddedToken","content":"<s>"},"eos_token":{"content":"</s>"}"""
        + ""","add_bos_token":true}""", 0, 1, 0, null)]
    [InlineData(ByteLevel, """{"tokenizer_class":"LlamaTokenizerFast","bos_token":"<s>","eos_token":"</s>"}""", 0, 1, 0, null)]
    [InlineData("END", """{"tokenizer_class":"CohereTokenizer","bos_token":"<s>","eos_token":"</s>","add_bos_token":true,"add_eos_token":false}""", 0, 1,
        0, null)]
    [InlineData("END", """{"bos_token":"<s>","eos_token":"</s>"}""", 0, 1, 0, 1)]
    [InlineData("END", """{"bos_token":"<s>","eos_token":"</s>","add_bos_token":false,"add_eos_token":true}""", 0, 1, null, 1)]
    [InlineData("TEMPLATE", "{}", 0, 6, 0, null)]
    [InlineData("TEMPLATE", null, 0, 6, 0, null)]
    [InlineData("null", null, 5, 6, null, null)]
    [InlineData("null", """{"add_bos_token":true}""", 5, 6, null, null)]
    [InlineData("""{"type":"RobertaProcessing","sep":["</s>",1],"cls":["<s>",0],"trim_offsets":true,"add_prefix_space":false}""",
        """{"cls_token":"<s>","sep_token":"</s>"}""", 0, 1, 0, 1)]
    public void TheTokenizersOwnFilesDecide(string processor, string? config, int? bos, int? eos, int? start, int? end)
    {
        WriteByteLevel(processor);
        if (config is not null)
        {
            folder.Write("tokenizer_config.json", config);
        }

        var tokenizer = TextTokenizer.Load(folder.Path);
        Assert.Equal((bos, eos, start, end), (tokenizer.BosId, tokenizer.EosId, tokenizer.StartId, tokenizer.EndId));
    }

    [Fact]
    public void TheMapOfSpecialTokensNamesWhatTheConfigurationLeavesOpen()
    {
        WriteByteLevel("null");
        folder.Write("special_tokens_map.json", """{"bos_token":{"content":"<s>"},"eos_token":"</s>"}""");
        folder.Write("tokenizer_config.json", """{"add_bos_token":true}""");
        var tokenizer = TextTokenizer.Load(folder.Path);
        Assert.Equal((0, 1, 0), (tokenizer.BosId, tokenizer.EosId, tokenizer.StartId));
    }

    [Theory]
    [InlineData("""{"bos_token":"<none>"}""", "tokenizer_config.json: bos_token is '<none>', which is not a token of the tokenizer")]
    [InlineData("""{"added_tokens_decoder":{"x":{"content":"a"}}}""", "tokenizer_config.json: added_tokens_decoder has the key 'x'")]
    public void NamesOfNoTokenAreRefused(string config, string complaint)
    {
        WriteByteLevel("null");
        folder.Write("tokenizer_config.json", config);
        Assert.Contains(complaint, Assert.Throws<NibbleException>(() => TextTokenizer.Load(folder.Path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void SeveralTokensBeforeATextAreRefused()
    {
        WriteByteLevel("""{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"a"}},{"SpecialToken":{"id":"a"}},{"Sequence":{"id":"A"}}]"""
            + ""","special_tokens":{"a":{"ids":[1]}}}""");
        Assert.Contains("post_processor puts 2 tokens before text", Assert.Throws<NibbleException>(() => TextTokenizer.Load(folder.Path)).Message,
            StringComparison.Ordinal);
    }

    /// <summary>A folder of tokenizer.model alone begins texts, as SentencePiece's users do; the flag says otherwise, and further tokens are found.</summary>
    [Fact]
    public void SentencePieceModelsBeginTextsUnlessTheySayOtherwise()
    {
        new SentencePieceModel(
            [new("<unk>", 0, PieceKind.Unknown), new("<s>", 0, PieceKind.Control), new("</s>", 0, PieceKind.Control), new("a", -1, PieceKind.Normal),
                new("<|im|>", 0, PieceKind.Normal)],
            Nibble.Formats.HuggingFace.Tokenizers.BlankBefore.Never, 0, 1, 2).Write(folder.File("tokenizer.model"));
        var tokenizer = TextTokenizer.Load(folder.Path);
        Assert.Equal((1, 2, 1, null), (tokenizer.BosId, tokenizer.EosId, tokenizer.StartId, tokenizer.EndId));
        Assert.Equal([3, 0], tokenizer.Encode("a<tool>"));

        folder.Write("tokenizer_config.json", """{"add_bos_token":false,"additional_special_tokens":["<|im|>","<absent>"]"""
            + ""","added_tokens_decoder":{"6":{"content":"<tool>","rstrip":true,"special":true}}}""");
        folder.Write("added_tokens.json", """{"<x>":5}""");
        tokenizer = TextTokenizer.Load(folder.Path);
        Assert.Equal((1, null, 7), (tokenizer.BosId, tokenizer.StartId, tokenizer.VocabularySize));
        Assert.Equal([3, 6, 4, 5, 3], tokenizer.Encode("a<tool>  <|im|><x>a"));
    }

    [Theory]
    [InlineData(null, new[] { 6 })]
    [InlineData("""{"eos_token_id":[1,2]}""", new[] { 1, 2 })]
    [InlineData("""{"eos_token_id":4}""", new[] { 4 })]
    [InlineData("""{"do_sample":true}""", new[] { 6 })]
    public void GenerationStopsWhereItsOwnFileSays(string? generation, int[] stops)
    {
        WriteByteLevel("null");
        if (generation is not null)
        {
            folder.Write("generation_config.json", generation);
        }

        var tokenizer = TextTokenizer.Load(folder.Path);
        Assert.Equal(stops, tokenizer.StopIds);
        Assert.Equal(generation is not null, tokenizer.Files.Any(path => path.EndsWith("generation_config.json", StringComparison.Ordinal)));
    }

    [Fact]
    public void WhatGenerationAsksForIsRead()
    {
        Assert.Null(GenerationConfig.Read(folder.Path));
        folder.Write("generation_config.json", """{"do_sample":true,"temperature":0.6,"top_p":0.9,"top_k":20,"repetition_penalty":1.05,"num_beams":1"""
            + ""","suppress_tokens":[],"bad_words_ids":[[1]],"eos_token_id":1}""");
        var read = GenerationConfig.Read(folder.Path)!;
        Assert.Equal((true, 0.6, 0.9), (read.Samples, read.Temperature, read.TopP));
        Assert.Equal(["repetition_penalty", "top_k", "bad_words_ids"], read.Others);

        folder.Write("generation_config.json", """{"temperature":"hot"}""");
        Assert.Contains("generation_config.json: temperature is \"hot\", expected a number of 0 or more",
            Assert.Throws<NibbleException>(() => GenerationConfig.Read(folder.Path)).Message, StringComparison.Ordinal);
        folder.Write("generation_config.json", """{"eos_token_id":"end"}""");
        WriteByteLevel("null");
        Assert.Contains("eos_token_id is \"end\"; expected a token id",
            Assert.Throws<NibbleException>(() => TextTokenizer.Load(folder.Path)).Message, StringComparison.Ordinal);
    }

    private void WriteByteLevel(string processor)
    {
        var json = TinyTokenizers.ByteLevel();
        json["post_processor"] = JsonNode.Parse(processor.Replace("TEMPLATE", Template, StringComparison.Ordinal)
            .Replace("END", EndTemplate, StringComparison.Ordinal));
        folder.Write("tokenizer.json", json.ToJsonString());
    }
}
