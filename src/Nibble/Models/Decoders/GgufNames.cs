using System.Globalization;
using Nibble.Models.Decoders.Families;

namespace Nibble.Models.Decoders;

/// <summary>A tensor of a decoder with both of its names.</summary>
/// <param name="Source">Its name in a Hugging Face checkpoint.</param>
/// <param name="Name">Its name in a GGUF file.</param>
/// <param name="Shape">Its shape in the checkpoint: [rows, columns] or [length].</param>
/// <param name="Heads">Heads whose rows GGUF orders differently; 0 if the order is the same.</param>
/// <param name="Offset">The difference of the file's values to the checkpoint's: 1 for norms that multiply by 1 + weight.</param>
internal sealed record GgufTensorName(string Source, string Name, long[] Shape, int Heads = 0, float Offset = 0)
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

    /// <summary>Adds an offset to values; negative zeros stay where there is none.</summary>
    public static void Shift(Span<float> values, float offset)
    {
        for (var i = 0; offset != 0 && i < values.Length; i++)
        {
            values[i] += offset;
        }
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

    /// <summary>The divisors for short texts (LongRoPE).</summary>
    public const string ShortFactors = "rope_factors_short.weight";

    /// <summary>The divisors for long texts (LongRoPE).</summary>
    public const string LongFactors = "rope_factors_long.weight";

    private static readonly Dictionary<string, string> InBlock = new(StringComparer.Ordinal)
    {
        ["self_attn.q_proj"] = "attn_q",
        ["self_attn.k_proj"] = "attn_k",
        ["self_attn.v_proj"] = "attn_v",
        [DecoderConfig.FusedAttention] = "attn_qkv",
        ["self_attn.q_norm"] = "attn_q_norm",
        ["self_attn.k_norm"] = "attn_k_norm",
        ["self_attn.o_proj"] = "attn_output",
        ["mlp.gate_proj"] = "ffn_gate",
        ["mlp.up_proj"] = "ffn_up",

        // llama.cpp has no name for both in one matrix.
        [DecoderConfig.FusedFeedForward] = "ffn_up",
        ["mlp.down_proj"] = "ffn_down",
    };

    /// <summary>How llama.cpp stores a model.</summary>
    public static GgufArchitecture Architecture(DecoderConfig config) => DecoderFamily.Of(config).Gguf(config);

    /// <summary>All tensors of a model.</summary>
    public static IEnumerable<GgufTensorName> Of(DecoderConfig config)
    {
        var reordered = Architecture(config).ReordersHeads;
        var offset = config.NormsAddOne ? 1f : 0f;
        yield return new(DecoderConfig.EmbeddingName, "token_embd.weight", [config.VocabularySize, config.HiddenSize]);
        for (var block = 0; block < config.Layers; block++)
        {
            foreach (var tensor in InFileOrder(config, block))
            {
                var split = tensor.Name.LastIndexOf('.');
                var module = NormOf(config.Norms, tensor.Name[..split]) ?? InBlock[tensor.Name[..split]];
                var heads = reordered ? module switch { "attn_q" => config.Heads, "attn_k" => config.KeyValueHeads, _ => 0 } : 0;
                yield return new(config.BlockPrefix(block) + tensor.Name,
                    string.Create(CultureInfo.InvariantCulture, $"blk.{block}.{module}{tensor.Name[split..]}"), [.. tensor.Shape], heads,
                    module.EndsWith("norm", StringComparison.Ordinal) ? offset : 0);
            }
        }

        yield return new(DecoderConfig.NormName, "output_norm.weight", [config.HiddenSize], Offset: offset);
        if (!config.TiedHead)
        {
            yield return new(DecoderConfig.HeadName + ".weight", "output.weight", [config.VocabularySize, config.HiddenSize]);
        }
    }

    private static string? NormOf(DecoderNorms norms, string module) => module == norms.BeforeAttention ? "attn_norm"
        : module == norms.AfterAttention ? "post_attention_norm"
        : module == norms.BeforeFeedForward ? "ffn_norm"
        : module == norms.AfterFeedForward ? "post_ffw_norm"
        : null;

    /// <summary>The tensors of a block: attention with its norms, then the feed-forward part with its norms.</summary>
    private static IEnumerable<TensorDefinition> InFileOrder(DecoderConfig config, int block)
    {
        string?[] early = [config.Norms.BeforeAttention, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", DecoderConfig.FusedAttention,
            "self_attn.q_norm", "self_attn.k_norm", "self_attn.o_proj", config.Norms.AfterAttention, config.Norms.BeforeFeedForward];
        return config.BlockTensors(block).OrderBy(tensor => Array.IndexOf(early, tensor.Name[..tensor.Name.LastIndexOf('.')]) is >= 0 and var place
            ? place : tensor.Name.StartsWith("mlp.", StringComparison.Ordinal) ? early.Length : early.Length + 1);
    }
}
