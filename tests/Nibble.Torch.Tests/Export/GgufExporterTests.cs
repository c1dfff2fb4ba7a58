using Nibble.Export;
using Nibble.Files;
using Nibble.Formats.Gguf;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Torch.Tests.Export;

public sealed class GgufExporterTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("llama", "llama", true)]
    [InlineData("mistral", "llama", true)]
    [InlineData("qwen2", "qwen2", false)]
    [InlineData("qwen3", "qwen3", false)]
    public void AFloatModelKeepsEveryValueUnderItsOtherName(string type, string architecture, bool reordered)
    {
        var llama = new TinyLlama { Type = type, HeadSize = type == "qwen2" ? 4 : 8 };
        using var file = Export(llama, null, out var result);

        Assert.Equal(architecture, file.Find("general.architecture")!.AsText());
        Assert.Equal(TinyLlama.KeyValueHeads, file.Find($"{architecture}.attention.head_count_kv")!.AsInteger());
        Assert.Equal(64, file.Find($"{architecture}.context_length")!.AsInteger());
        Assert.Equal(TinyLlama.Vocabulary, file.Find("tokenizer.ggml.tokens")!.AsTexts()!.Count);
        Assert.Equal((long)TinyLlama.Bos, file.Find("tokenizer.ggml.bos_token_id")!.AsInteger());
        Assert.Empty(result.Notes);
        var source = llama.Tensors();
        Assert.Equal(source.Count, file.Tensors.Count);
        Assert.Equal(source["model.layers.1.mlp.down_proj.weight"].Values, Read(file, "blk.1.ffn_down.weight"));
        Assert.Equal(source["model.norm.weight"].Values, Read(file, "output_norm.weight"));
        Assert.Equal(source["lm_head.weight"].Values, Read(file, "output.weight"));

        // Rows 0 and 4 of a head of 8 are a rotary pair; in the file they are neighbours.
        var (query, written) = (source["model.layers.0.self_attn.q_proj.weight"].Values, Read(file, "blk.0.attn_q.weight"));
        int[] order = reordered ? [0, 4, 1, 5, 2, 6, 3, 7] : [0, 1, 2, 3, 4, 5, 6, 7];
        for (var row = 0; row < TinyLlama.Heads * llama.HeadSize; row++)
        {
            var from = (row / 8 * 8) + order[row % 8];
            Assert.Equal(query.AsSpan(from * TinyLlama.Hidden, TinyLlama.Hidden), written.AsSpan(row * TinyLlama.Hidden, TinyLlama.Hidden));
        }
    }

    /// <summary>What llama.cpp's architectures have no tensors for, found out before work goes into the model.</summary>
    [Theory]
    [InlineData("qwen3", ",\"attention_bias\":true", 8, "of type qwen3 with biases of attention's output (attention_bias) cannot be stored in a GGUF file")]
    [InlineData("qwen3", ",\"mlp_bias\":true", 8, "biases of the feed-forward part (mlp_bias)")]
    [InlineData("qwen2", ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4,"
        + "\"original_max_position_embeddings\":16}", 4, "rotary scaling of type llama3")]
    [InlineData("qwen2", "", 8, "4 heads of 8, which together are not as wide as its 16 channels, cannot be stored in a GGUF file")]
    [InlineData("llama", ",\"attention_bias\":true,\"mlp_bias\":true", 8, null)]
    public void WhatTheEngineHasNoPlaceForIsRefused(string type, string further, int headSize, string? complaint)
    {
        var source = new TinyLlama { Type = type, Further = further, HeadSize = headSize }.Write(folder.File("source"));
        if (complaint is null)
        {
            Assert.Empty(GgufSupport.Require(source));
            return;
        }

        Assert.Contains(complaint, Assert.Throws<NibbleException>(() => GgufSupport.Require(source)).Message, StringComparison.Ordinal);
        Assert.Contains(complaint, Assert.Throws<NibbleException>(() => GgufExporter.Run(source, folder.File("model.gguf"), type: null)).Message,
            StringComparison.Ordinal);
        Assert.False(File.Exists(folder.File("model.gguf")));
    }

    [Fact]
    public void StretchedRotaryFrequenciesAreWrittenAsFactors()
    {
        var scaling = ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4,"
        + "\"original_max_position_embeddings\":16}";
        using var file = Export(new TinyLlama { Further = scaling }, GgufType.F16, out _);

        var factors = Read(file, "rope_freqs.weight");
        Assert.Equal(4, factors.Length);
        Assert.Equal(8, factors[^1], 1e-5);
        Assert.InRange(factors[0], 1, factors[1]);
    }

    [Fact]
    public void EqualModelsGiveEqualBytesAndTypesAreAsAsked()
    {
        using (var first = Export(new TinyLlama(), GgufType.BF16, out var result))
        {
            Assert.Equal(GgufType.BF16, first.FindTensor("blk.0.ffn_up.weight")!.Type);
            Assert.Equal(GgufType.F32, first.FindTensor("blk.0.ffn_norm.weight")!.Type);
            Assert.Equal(new FileInfo(first.Path).Length, result.Bytes);
        }

        var bytes = File.ReadAllBytes(Path.Combine(folder.Path, "model.gguf"));
        var message = Assert.Throws<NibbleException>(() => Export(new TinyLlama(), GgufType.F16, out _)).Message;
        Assert.Contains("model.gguf exists already", message, StringComparison.Ordinal);
        Assert.Equal(bytes, File.ReadAllBytes(Path.Combine(folder.Path, "model.gguf")));
        File.Delete(Path.Combine(folder.Path, "model.gguf"));
        Export(new TinyLlama(), GgufType.BF16, out _).Dispose();
        Assert.Equal(bytes, File.ReadAllBytes(Path.Combine(folder.Path, "model.gguf")));
    }

    /// <summary>What the type of the file cannot hold is refused, where it became infinite without a word.</summary>
    [Theory]
    [InlineData(7e4f, GgufType.F16, "has the value 70000 in row 3, column 2, but F16 holds only finite values of at most 65504")]
    [InlineData(float.NaN, GgufType.F32, "holds NaN at [3, 2], expected finite values")]
    public void ValuesThatTheTypeDoesNotHoldAreRefused(float value, GgufType type, string expected)
    {
        var source = new TinyLlama { Seed = 3 }.Write(folder.File("large"), tensors =>
            tensors["model.layers.0.self_attn.k_proj.weight"].Values[(3 * TinyLlama.Hidden) + 2] = value);
        var exception = Assert.Throws<NibbleException>(() => GgufExporter.Run(source, folder.File("large.gguf"), type));
        Assert.Contains("model.layers.0.self_attn.k_proj.weight", exception.Message, StringComparison.Ordinal);
        Assert.Contains(expected, exception.Message, StringComparison.Ordinal);
        Assert.False(File.Exists(folder.File("large.gguf")));
        if (float.IsFinite(value))
        {
            GgufExporter.Run(source, folder.File("large.gguf"), GgufType.BF16);
        }
    }

    [Fact]
    public void AFloatModelHasNoCodesForBlocks() =>
        Assert.Contains("a float model has no codes to store as Q4_0", Assert.Throws<NibbleException>(() => Export(new TinyLlama(), GgufType.Q4_0, out _)).Message,
            StringComparison.Ordinal);

    private GgufFile Export(TinyLlama llama, GgufType? type, out ExportResult result)
    {
        var source = Path.Combine(folder.Path, $"source-{llama.GetHashCode()}");
        if (!Directory.Exists(source))
        {
            llama.Write(source);
        }

        var path = Path.Combine(folder.Path, "model.gguf");
        result = GgufExporter.Run(source, path, type);
        return GgufFile.Open(path);
    }

    private static float[] Read(GgufFile file, string name) => file.ReadFloats(file.FindTensor(name)!);
}
