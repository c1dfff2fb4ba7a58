using Nibble.Export;
using Nibble.Torch.Models;
using Nibble.Formats.Gguf;
using Nibble.Formats.HuggingFace;
using Nibble.Models.Decoders;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Torch.Tests.Export;

public sealed class GgufImporterTests : IDisposable
{
    private const string Stretched =
        ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4,\"original_max_position_embeddings\":16}";
    private const string Linear = ",\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":2.5}";

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    /// <summary>Every tensor's role in every architecture: what one side permutes, the other has to permute back.</summary>
    public static TheoryData<string, string, int, int, bool> Models()
    {
        var models = new TheoryData<string, string, int, int, bool>();
        foreach (var type in (string[])["llama", "mistral", "qwen2", "qwen3"])
        {
            // llama.cpp's other architectures have no place for more biases, and qwen2 none for heads of other sizes.
            var isLlama = type is "llama" or "mistral";
            string[] biases = isLlama ? ["", ",\"attention_bias\":true", ",\"mlp_bias\":true", ",\"attention_bias\":true,\"mlp_bias\":true"] : [""];
            var windows = type == "mistral" ? ",\"sliding_window\":null" : "";
            foreach (var further in biases.Select(biased => biased + windows))
            {
                foreach (var (keyHeads, headSize, tied) in ((int, int, bool)[])[(TinyLlama.KeyValueHeads, 8, false), (1, 4, true), (TinyLlama.Heads, 6, false)])
                {
                    models.Add(type, further, keyHeads, type == "qwen2" ? TinyLlama.Hidden / TinyLlama.Heads : headSize, tied);
                }
            }
        }

        models.Add("llama", Stretched, 2, 8, false);
        models.Add("llama", Linear, 2, 8, false);
        return models;
    }

    [Theory]
    [MemberData(nameof(Models))]
    public void AFloatModelComesBackWithEveryValueAndTheSameBytes(string type, string further, int keyHeads, int headSize, bool tied)
    {
        var llama = new TinyLlama { Type = type, Further = further, KeyHeads = keyHeads, HeadSize = headSize, Tied = tied };
        var source = llama.Write(folder.File("source"));
        GgufExporter.Run(source, folder.File("first.gguf"), type: null);
        var result = CheckpointImporter.Run(folder.File("first.gguf"), folder.File("imported"));
        GgufExporter.Run(folder.File("imported"), folder.File("second.gguf"), type: null);

        Assert.Equal(("source", "gguf", 0), (result.Model, result.Format, result.Layers));
        Assert.Equal(File.ReadAllBytes(folder.File("first.gguf")), File.ReadAllBytes(folder.File("second.gguf")));
        using var imported = FloatCheckpoint.Open(folder.File("imported"));
        using var original = FloatCheckpoint.Open(source);
        AssertSameShape((DecoderConfig)original.Definition, (DecoderConfig)imported.Definition);
        using var weights = Checkpoint.Open(folder.File("imported"));
        Assert.All(llama.Tensors(), tensor => Assert.Equal(tensor.Value.Values, weights.ReadFloats(tensor.Key)));
        Assert.Equal(original.Tokenizer.Encode("Ünï <|eos|> x"), imported.Tokenizer.Encode("Ünï <|eos|> x"));
        Assert.Equal((original.Tokenizer.BosId, original.Tokenizer.EosId), (imported.Tokenizer.BosId, imported.Tokenizer.EosId));
    }

    /// <summary>The models whose windows and layers llama.cpp's architectures can express.</summary>
    public static TheoryData<string> Families => [.. ReferenceDecoder.Names.Where(name => GgufArchitectureOf(name).FaultOf(ConfigOf(name)) is null)];

    [Theory]
    [MemberData(nameof(Families))]
    public void AModelOfEveryFamilyComesBackWithTheSameShapeAndBytes(string name)
    {
        GgufExporter.Run(ReferenceDecoder.Load(name).Write(folder.File("source")), folder.File("first.gguf"), type: null);
        CheckpointImporter.Run(folder.File("first.gguf"), folder.File("imported"));
        GgufExporter.Run(folder.File("imported"), folder.File("second.gguf"), type: null);
        Assert.Equal(File.ReadAllBytes(folder.File("first.gguf")), File.ReadAllBytes(folder.File("second.gguf")));
        using var imported = FloatCheckpoint.Open(folder.File("imported"));
        AssertSameShape(ConfigOf(name), (DecoderConfig)imported.Definition);
        using var weights = Checkpoint.Open(folder.File("imported"));
        foreach (var (tensor, _, values) in ReferenceDecoder.Load(name).Tensors())
        {
            // Norms that add one are rounded where the file holds the sum.
            Assert.All(values.Zip(weights.ReadFloats(tensor)), pair => Assert.Equal(pair.First, pair.Second, 1e-6));
        }
    }

    private static DecoderConfig ConfigOf(string name) => DecoderConfig.Parse(ReferenceDecoder.Load(name).ConfigJson, name);

    private static GgufArchitecture GgufArchitectureOf(string name) => GgufNames.Architecture(ConfigOf(name));

    private static void AssertSameShape(DecoderConfig original, DecoderConfig imported)
    {
        Assert.Equal(
            original with { ModelType = imported.ModelType, LayerPattern = [], SlidingWindow = null },
            imported with
            {
                NormEpsilon = original.NormEpsilon,
                AttentionScale = original.AttentionScale,
                ResidualScale = original.ResidualScale,
                MaxPositions = original.MaxPositions,
                LayerPattern = [],
                SlidingWindow = null,
            });
        Assert.Equal(original.AttentionScale ?? 0, imported.AttentionScale ?? 0, 1e-6);
        foreach (var layer in Enumerable.Range(0, original.Layers))
        {
            var (first, second) = (original.LayerOf(layer), imported.LayerOf(layer));
            Assert.Equal((first.Window, first.Rotary?.Channels, first.Rotary?.Base), (second.Window, second.Rotary?.Channels, second.Rotary?.Base));
            Assert.Equal(first.Rotary?.Frequencies() ?? [], second.Rotary?.Frequencies() ?? []);
            Assert.Equal(first.Rotary?.Magnitude ?? 1, second.Rotary?.Magnitude ?? 1, 1e-6);
        }
    }

    [Fact]
    public void ATemplateOfChatsIsKept()
    {
        var source = new TinyLlama().Write(folder.File("source"));
        File.WriteAllText(Path.Combine(source, "tokenizer_config.json"), """{"add_bos_token":false,"chat_template":[{"name":"tools","template":"a"},{"name":"default","template":"{{ b }}"}]}""");
        GgufExporter.Run(source, folder.File("chat.gguf"), type: null);
        CheckpointImporter.Run(folder.File("chat.gguf"), folder.File("imported"));

        using var file = GgufFile.Open(folder.File("chat.gguf"));
        Assert.Equal("{{ b }}", file.Find("tokenizer.chat_template")!.AsText());
        Assert.False(file.Find("tokenizer.ggml.add_bos_token")!.AsBool());
        Assert.Equal("{{ b }}", File.ReadAllText(Path.Combine(folder.File("imported"), "chat_template.jinja")));
        Assert.Contains("\"add_bos_token\": false", File.ReadAllText(Path.Combine(folder.File("imported"), "tokenizer_config.json")), StringComparison.Ordinal);
    }

    /// <summary>Metadata that is not there, and metadata that contradicts the tensors or itself.</summary>
    [Theory]
    [InlineData("general.architecture", null, "the architecture is '', expected a dense model of llama, qwen2, qwen3, gemma")]
    [InlineData("general.architecture", "gpt2", "the architecture is 'gpt2'")]
    [InlineData("llama.block_count", null, "the metadata has no llama.block_count")]
    [InlineData("llama.block_count", 3u, "there is no tensor blk.2.attn_norm.weight")]
    [InlineData("llama.block_count", 1u, "tensor blk.1.attn_norm.weight is not used by a model of architecture llama")]
    [InlineData("llama.block_count", "two", "llama.block_count is of type String, expected a whole number above 0")]
    [InlineData("llama.embedding_length", 64u, "expected [64, ")]
    [InlineData("llama.attention.head_count_kv", 3u, "key-value heads")]
    [InlineData("llama.attention.value_length", 4u, "expected the same size for all three")]
    [InlineData("llama.rope.freq_base", "many", "llama.rope.freq_base is not a number above 0")]
    [InlineData("llama.rope.scaling.type", "ntk", "rotary scaling of type 'ntk' is not supported")]
    [InlineData("llama.rope.scaling.type", "yarn", "the metadata has no llama.rope.scaling.factor, expected a number")]
    [InlineData("llama.rope.scaling.attn_factor", 1.5f, "scales the rotated values by 1.5, which is not supported")]
    [InlineData("split.count", 2u, "of 2 of a model, expected the whole model in one file")]
    [InlineData("llama.expert_count", 8u, "with experts")]
    [InlineData("tokenizer.ggml.tokens", null, "has no tokenizer.ggml.tokens")]
    [InlineData("tokenizer.ggml.token_type", null, "has no tokenizer.ggml.token_type")]
    [InlineData("tokenizer.ggml.model", "bert", "tokenizer.ggml.model is 'bert', expected llama (SentencePiece) or gpt2")]
    [InlineData("tokenizer.ggml.pre", "other", "tokenizer.ggml.pre is 'other', expected a pre-tokenizer that Nibble knows")]
    [InlineData("tokenizer.ggml.merges", null, "has no tokenizer.ggml.merges")]
    [InlineData("tokenizer.ggml.bos_token_id", 100000u, "tokenizer.ggml.bos_token_id is not an id of the")]
    public void WhatAFileLacksOrContradictsIsSaid(string key, object? value, string expected)
    {
        GgufExporter.Run(new TinyLlama().Write(folder.File("source")), folder.File("whole.gguf"), type: null);
        Change(folder.File("whole.gguf"), folder.File("changed.gguf"), [key], value is null ? [] : [new(key, Value(value))]);

        var exception = Assert.ThrowsAny<NibbleException>(() => CheckpointImporter.Run(folder.File("changed.gguf"), folder.File("imported")));
        Assert.Contains(expected, exception.Message, StringComparison.Ordinal);
        Assert.False(Path.Exists(folder.File("imported")));
    }

    /// <summary>Files of llama.cpp before November 2023, and those that name no type, divide positions by a factor too; 0 and the type none do not.</summary>
    [Theory]
    [InlineData("llama.rope.scale_linear", 2.5f, null, 2.5)]
    [InlineData("llama.rope.scaling.factor", 2.5f, null, 2.5)]
    [InlineData("llama.rope.scaling.factor", 0f, "linear", null)]
    [InlineData("llama.rope.scaling.factor", 2.5f, "none", null)]
    public void PositionsAreDividedAsLlamaCppDoes(string key, float value, string? type, double? factor)
    {
        GgufExporter.Run(new TinyLlama().Write(folder.File("source")), folder.File("whole.gguf"), type: null);
        KeyValuePair<string, GgufValue>[] added = [new(key, GgufValue.Of(value))];
        Change(folder.File("whole.gguf"), folder.File("old.gguf"), [], type is null ? added : [.. added, new("llama.rope.scaling.type", GgufValue.Of(type))]);
        CheckpointImporter.Run(folder.File("old.gguf"), folder.File("imported"));
        using var imported = FloatCheckpoint.Open(folder.File("imported"));
        Assert.Equal(factor, (((DecoderConfig)imported.Definition).Rotary!.Scaling as LinearScaling)?.Factor);
    }

    [Fact]
    public void PositionsThatAreDividedInTwoWaysAreRefused()
    {
        GgufExporter.Run(new TinyLlama { Further = Stretched }.Write(folder.File("source")), folder.File("whole.gguf"), type: null);
        Change(folder.File("whole.gguf"), folder.File("both.gguf"), [], [new("llama.rope.scaling.factor", GgufValue.Of(2f))]);
        var exception = Assert.Throws<NibbleException>(() => CheckpointImporter.Run(folder.File("both.gguf"), folder.File("imported")));
        Assert.Contains("divided by llama.rope.scaling.factor and by the tensor rope_freqs.weight", exception.Message, StringComparison.Ordinal);
    }

    private static GgufValue Value(object value) =>
        value switch { string text => GgufValue.Of(text), float number => GgufValue.Of(number), var number => GgufValue.Of((uint)number) };

    /// <summary>Writes a file anew with other metadata.</summary>
    private static void Change(string source, string path, string[] without, KeyValuePair<string, GgufValue>[] added)
    {
        using var whole = GgufFile.Open(source);
        var tensors = whole.Tensors.Select(tensor => new GgufTensor(tensor.Name, tensor.Type, tensor.Dimensions, stream => Copy(whole, tensor, stream)));
        GgufWriter.Write(path, [.. whole.Metadata.Where(pair => !without.Contains(pair.Key)), .. added], [.. tensors]);
    }

    [Theory]
    [InlineData("blk.1.attn_norm.weight", 3, "[3]")]
    [InlineData("token_embd.weight", 20, "[1, 4]")]
    public void ValuesThatAreNotFiniteAreRefused(string name, int index, string place)
    {
        GgufExporter.Run(new TinyLlama().Write(folder.File("source")), folder.File("ruined.gguf"), type: null);
        var bytes = File.ReadAllBytes(folder.File("ruined.gguf"));
        using (var file = GgufFile.Open(folder.File("ruined.gguf")))
        {
            BitConverter.TryWriteBytes(bytes.AsSpan((int)file.FindTensor(name)!.Offset + (index * sizeof(float))), float.NaN);
        }

        File.WriteAllBytes(folder.File("ruined.gguf"), bytes);
        var exception = Assert.ThrowsAny<NibbleException>(() => CheckpointImporter.Run(folder.File("ruined.gguf"), folder.File("imported")));
        Assert.StartsWith($"{folder.File("ruined.gguf")}: tensor '{name}' holds NaN at {place}, expected finite values", exception.Message,
            StringComparison.Ordinal);
        Assert.False(Path.Exists(folder.File("imported")));
    }

    private static void Copy(GgufFile file, GgufEntry tensor, Stream stream)
    {
        var bytes = new byte[tensor.ByteLength];
        file.ReadBytes(tensor, 0, bytes);
        stream.Write(bytes);
    }
}
