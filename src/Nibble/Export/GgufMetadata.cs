using Nibble.Artifacts;
using Nibble.Files;
using Nibble.Formats.Gguf;
using Nibble.Models.Decoders;

namespace Nibble.Export;

/// <summary>The metadata that a GGUF file holds about a model.</summary>
/// <remarks>Keys: ggml-org/ggml, <c>docs/gguf.md</c>.</remarks>
internal static class GgufMetadata
{
    // The layout of blocks: the second and so far latest version.
    private const uint QuantizationVersion = 2;

    /// <summary>The metadata of a model, without its tokenizer.</summary>
    /// <param name="name">The model's name.</param>
    /// <param name="config">Its shape.</param>
    /// <param name="mostly">The type of most matrices.</param>
    public static IEnumerable<KeyValuePair<string, GgufValue>> Of(string name, DecoderConfig config, GgufType mostly)
    {
        var architecture = GgufNames.Architecture(config);
        yield return new("general.architecture", GgufValue.Of(architecture));
        yield return new("general.type", GgufValue.Of("model"));
        yield return new("general.name", GgufValue.Of(name));
        yield return new("general.quantized_by", GgufValue.Of($"Nibble {Provenance.ThisVersion}"));
        yield return new("general.quantization_version", GgufValue.Of(QuantizationVersion));
        yield return new("general.file_type", GgufValue.Of(GgufFileType.Of(mostly)));
        yield return new($"{architecture}.vocab_size", GgufValue.Of((uint)config.VocabularySize));

        // Engines attend to the whole context, so the context ends at this model's window.
        yield return new($"{architecture}.context_length", GgufValue.Of((uint)config.MaxSequence));
        yield return new($"{architecture}.embedding_length", GgufValue.Of((uint)config.HiddenSize));
        yield return new($"{architecture}.block_count", GgufValue.Of((uint)config.Layers));
        yield return new($"{architecture}.feed_forward_length", GgufValue.Of((uint)config.IntermediateSize));
        yield return new($"{architecture}.attention.head_count", GgufValue.Of((uint)config.Heads));
        yield return new($"{architecture}.attention.head_count_kv", GgufValue.Of((uint)config.KeyValueHeads));
        yield return new($"{architecture}.attention.key_length", GgufValue.Of((uint)config.HeadSize));
        yield return new($"{architecture}.attention.value_length", GgufValue.Of((uint)config.HeadSize));
        yield return new($"{architecture}.attention.layer_norm_rms_epsilon", GgufValue.Of((float)config.NormEpsilon));
        yield return new($"{architecture}.rope.dimension_count", GgufValue.Of((uint)config.HeadSize));
        yield return new($"{architecture}.rope.freq_base", GgufValue.Of((float)config.RotaryBase));
        if (config.RotaryScaling is { OriginalContext: 0 } linear)
        {
            yield return new($"{architecture}.rope.scaling.type", GgufValue.Of("linear"));
            yield return new($"{architecture}.rope.scaling.factor", GgufValue.Of((float)linear.Factor));
        }
    }

    /// <summary>llama.cpp's divisors of the rotary frequencies, for a model that stretches long wavelengths more than short ones.</summary>
    public static float[]? RotaryFactors(DecoderConfig config)
    {
        if (config.RotaryScaling is not { OriginalContext: > 0 })
        {
            return null;
        }

        var plain = config with { RotaryScaling = null };
        return [.. Enumerable.Range(0, config.HeadSize / 2).Select(pair => (float)(plain.RotaryFrequency(pair) / config.RotaryFrequency(pair)))];
    }
}
