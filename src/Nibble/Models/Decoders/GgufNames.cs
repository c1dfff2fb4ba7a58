using System.Globalization;

namespace Nibble.Models.Decoders;

/// <summary>A tensor of a Llama-family decoder with both of its names.</summary>
/// <param name="Source">Its name in a Hugging Face checkpoint.</param>
/// <param name="Name">Its name in a GGUF file.</param>
/// <param name="Shape">Its shape in the checkpoint: [rows, columns] or [length].</param>
/// <param name="Heads">Heads whose rows GGUF orders differently; 0 if the order is the same.</param>
internal sealed record GgufTensorName(string Source, string Name, long[] Shape, int Heads = 0)
{
    /// <summary>The checkpoint's row for a row of the file.</summary>
    /// <remarks>
    /// Rotary embedding rotates pairs of rows: (i, i + half) of a head in checkpoints, (2i, 2i + 1) in llama.cpp's architecture
    /// <c>llama</c> (ggml-org/llama.cpp, <c>convert_hf_to_gguf.py</c>, <c>LlamaModel.permute</c>).
    /// </remarks>
    public long SourceRow(long row)
    {
        if (Heads == 0)
        {
            return row;
        }

        var size = Shape[0] / Heads;
        var (head, inside) = Math.DivRem(row, size);
        return (head * size) + (inside % 2 * (size / 2)) + (inside / 2);
    }

    /// <summary>The file's row for a row of the checkpoint: the inverse of <see cref="SourceRow"/>.</summary>
    public long FileRow(long row)
    {
        if (Heads == 0)
        {
            return row;
        }

        var size = Shape[0] / Heads;
        var (head, inside) = Math.DivRem(row, size);
        return (head * size) + (inside % (size / 2) * 2) + (inside / (size / 2));
    }
}

/// <summary>The tensors of a decoder, in the order in which llama.cpp writes them.</summary>
internal static class GgufNames
{
    /// <summary>The divisors of the rotary frequencies in llama.cpp. Only models that stretch long wavelengths more than short ones have them.</summary>
    public const string RotaryFactors = "rope_freqs.weight";

    private static readonly Dictionary<string, string> InBlock = new(StringComparer.Ordinal)
    {
        ["input_layernorm"] = "attn_norm",
        ["self_attn.q_proj"] = "attn_q",
        ["self_attn.k_proj"] = "attn_k",
        ["self_attn.v_proj"] = "attn_v",
        ["self_attn.q_norm"] = "attn_q_norm",
        ["self_attn.k_norm"] = "attn_k_norm",
        ["self_attn.o_proj"] = "attn_output",
        ["post_attention_layernorm"] = "ffn_norm",
        ["mlp.gate_proj"] = "ffn_gate",
        ["mlp.up_proj"] = "ffn_up",
        ["mlp.down_proj"] = "ffn_down",
    };

    /// <summary>The llama.cpp architecture of a model.</summary>
    public static string Architecture(DecoderConfig config) => config.ModelType is "qwen2" or "qwen3" ? config.ModelType : "llama";

    /// <summary>All tensors of a model.</summary>
    public static IEnumerable<GgufTensorName> Of(DecoderConfig config)
    {
        var reordered = Architecture(config) == "llama";
        yield return new(DecoderConfig.EmbeddingName, "token_embd.weight", [config.VocabularySize, config.HiddenSize]);
        for (var block = 0; block < config.Layers; block++)
        {
            foreach (var (name, shape) in BlockTensors(config))
            {
                var split = name.LastIndexOf('.');
                var module = InBlock[name[..split]];
                var heads = reordered ? module switch { "attn_q" => config.Heads, "attn_k" => config.KeyValueHeads, _ => 0 } : 0;
                yield return new(config.BlockPrefix(block) + name, string.Create(CultureInfo.InvariantCulture, $"blk.{block}.{module}{name[split..]}"), shape,
                    heads);
            }
        }

        yield return new(DecoderConfig.NormName, "output_norm.weight", [config.HiddenSize]);
        if (!config.TiedHead)
        {
            yield return new(DecoderConfig.HeadName + ".weight", "output.weight", [config.VocabularySize, config.HiddenSize]);
        }
    }

    private static IEnumerable<(string Name, long[] Shape)> BlockTensors(DecoderConfig config)
    {
        var (hidden, wide) = ((long)config.HiddenSize, (long)config.IntermediateSize);
        var queries = (long)config.Heads * config.HeadSize;
        var keys = (long)config.KeyValueHeads * config.HeadSize;
        yield return ("input_layernorm.weight", [hidden]);
        foreach (var tensor in Linear("self_attn.q_proj", queries, hidden, config.QueryKeyValueBias)
            .Concat(Linear("self_attn.k_proj", keys, hidden, config.QueryKeyValueBias))
            .Concat(Linear("self_attn.v_proj", keys, hidden, config.QueryKeyValueBias)))
        {
            yield return tensor;
        }

        if (config.QueryKeyNorm)
        {
            yield return ("self_attn.q_norm.weight", [config.HeadSize]);
            yield return ("self_attn.k_norm.weight", [config.HeadSize]);
        }

        foreach (var tensor in Linear("self_attn.o_proj", hidden, queries, config.OutputBias)
            .Append(("post_attention_layernorm.weight", [hidden]))
            .Concat(Linear("mlp.gate_proj", wide, hidden, config.FeedForwardBias))
            .Concat(Linear("mlp.up_proj", wide, hidden, config.FeedForwardBias))
            .Concat(Linear("mlp.down_proj", hidden, wide, config.FeedForwardBias)))
        {
            yield return tensor;
        }
    }

    private static IEnumerable<(string Name, long[] Shape)> Linear(string name, long rows, long columns, bool bias)
    {
        yield return (name + ".weight", [rows, columns]);
        if (bias)
        {
            yield return (name + ".bias", [rows]);
        }
    }
}
