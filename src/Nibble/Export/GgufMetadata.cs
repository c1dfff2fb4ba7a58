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
        yield return new("general.architecture", GgufValue.Of(architecture.Name));
        yield return new("general.type", GgufValue.Of("model"));
        yield return new("general.name", GgufValue.Of(name));
        yield return new("general.quantized_by", GgufValue.Of($"Nibble {Provenance.ThisVersion}"));
        yield return new("general.quantization_version", GgufValue.Of(QuantizationVersion));
        yield return new("general.file_type", GgufValue.Of(GgufFileType.Of(mostly)));
        foreach (var (key, value) in Shape(config).Concat(Rotary(config)).Concat(architecture.Keys.Select(key =>
            KeyValuePair.Create(key.Name, key.IsWhole ? GgufValue.Of((uint)key.Value) : GgufValue.Of((float)key.Value)))))
        {
            yield return new($"{architecture.Name}.{key}", value);
        }
    }

    /// <summary>The tensors of divisors of the rotary frequencies, for scalings that treat the pairs differently.</summary>
    public static IEnumerable<(string Name, float[] Factors)> RotaryFactors(DecoderConfig config)
    {
        switch (config.Rotary)
        {
            case { Scaling: Llama3Scaling } rotary:
                yield return (GgufNames.RotaryFactors,
                    [.. Enumerable.Range(0, rotary.Channels / 2).Select(pair => (float)(rotary.Plain(pair) / rotary.Frequency(pair)))]);
                break;
            case { Scaling: LongRopeScaling scaling }:
                yield return (GgufNames.LongFactors, [.. scaling.Long.Select(factor => (float)factor)]);
                yield return (GgufNames.ShortFactors, [.. scaling.Short.Select(factor => (float)factor)]);
                break;
        }
    }

    private static IEnumerable<KeyValuePair<string, GgufValue>> Shape(DecoderConfig config)
    {
        yield return new("vocab_size", GgufValue.Of((uint)config.VocabularySize));

        // Engines attend to the whole context, so the context ends at this model's window. They have both kinds of LongRoPE's factors.
        var context = config.Rotary?.Scaling is LongRopeScaling ? Math.Min(config.MaxPositions, config.SlidingWindow ?? config.MaxPositions)
            : config.MaxSequence;
        yield return new("context_length", GgufValue.Of((uint)context));
        yield return new("embedding_length", GgufValue.Of((uint)config.HiddenSize));
        yield return new("block_count", GgufValue.Of((uint)config.Layers));
        yield return new("feed_forward_length", GgufValue.Of((uint)config.IntermediateSize));
        yield return new("attention.head_count", GgufValue.Of((uint)config.Heads));
        yield return new("attention.head_count_kv", GgufValue.Of((uint)config.KeyValueHeads));
        yield return new("attention.key_length", GgufValue.Of((uint)config.HeadSize));
        yield return new("attention.value_length", GgufValue.Of((uint)config.HeadSize));
        yield return new("attention.layer_norm_rms_epsilon", GgufValue.Of((float)config.NormEpsilon));
    }

    private static IEnumerable<KeyValuePair<string, GgufValue>> Rotary(DecoderConfig config)
    {
        if (config.Rotary is not { } rotary)
        {
            yield break;
        }

        yield return new("rope.dimension_count", GgufValue.Of((uint)rotary.Channels));
        yield return new("rope.freq_base", GgufValue.Of((float)rotary.Base));
        switch (rotary.Scaling)
        {
            case LinearScaling linear:
                yield return new("rope.scaling.type", GgufValue.Of("linear"));
                yield return new("rope.scaling.factor", GgufValue.Of((float)linear.Factor));
                break;
            case YarnScaling yarn:
                yield return new("rope.scaling.type", GgufValue.Of("yarn"));
                yield return new("rope.scaling.factor", GgufValue.Of((float)yarn.Factor));
                yield return new("rope.scaling.original_context_length", GgufValue.Of((uint)yarn.OriginalContext));
                break;
            case LongRopeScaling longRope:
                yield return new("rope.scaling.original_context_length", GgufValue.Of((uint)longRope.OriginalContext));
                yield return new("rope.scaling.attn_factor", GgufValue.Of((float)longRope.AttentionFactor));
                break;
        }
    }
}
