using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Nibble.Recipes;

namespace Nibble.Models.Decoders;

/// <summary>How rotary frequencies are stretched for long contexts (<c>rope_scaling</c> of type <c>llama3</c>, or <c>linear</c> if only the factor is
/// used).</summary>
/// <param name="Factor">The divisor of low frequencies.</param>
/// <param name="LowFrequencyFactor">Wavelengths above original context / this are divided in full.</param>
/// <param name="HighFrequencyFactor">Wavelengths below original context / this are unchanged.</param>
/// <param name="OriginalContext">The context length that the model was first trained with; 0 divides all frequencies.</param>
public sealed record RotaryScaling(double Factor, double LowFrequencyFactor, double HighFrequencyFactor, int OriginalContext);

/// <summary>The shape of a Llama-family decoder, from its <c>config.json</c>.</summary>
public sealed record DecoderConfig : ModelDefinition
{
    /// <summary>The embedding table.</summary>
    public const string EmbeddingName = "model.embed_tokens.weight";

    /// <summary>The weight of the norm after the last block.</summary>
    public const string NormName = "model.norm.weight";

    /// <summary>The layer that yields the logits.</summary>
    public const string HeadName = "lm_head";

    private const string HeadWeightName = HeadName + ".weight";

    /// <summary>The <c>model_type</c>s that this family loads.</summary>
    public static IReadOnlyList<string> SupportedTypes { get; } = ["llama", "mistral", "qwen2", "qwen3"];

    /// <summary>Width inside the feed-forward part.</summary>
    public required int IntermediateSize { get; init; }

    /// <summary>Query heads.</summary>
    public required int Heads { get; init; }

    /// <summary>Key and value heads; divides <see cref="Heads"/>.</summary>
    public required int KeyValueHeads { get; init; }

    /// <summary>Width of a head, even.</summary>
    public required int HeadSize { get; init; }

    /// <summary>Positions that the model was trained for.</summary>
    public required int MaxPositions { get; init; }

    /// <summary>Added to the mean square in RMSNorm.</summary>
    public double NormEpsilon { get; init; } = 1e-5;

    /// <summary>Base of the rotary frequencies.</summary>
    public double RotaryBase { get; init; } = 10000;

    /// <summary>Stretching of the rotary frequencies; null for none.</summary>
    public RotaryScaling? RotaryScaling { get; init; }

    /// <summary>Whether the head is the transposed embedding.</summary>
    public bool TiedHead { get; init; }

    /// <summary>Whether query, key and value projections have biases.</summary>
    public bool QueryKeyValueBias { get; init; }

    /// <summary>Whether the output projection has a bias.</summary>
    public bool OutputBias { get; init; }

    /// <summary>Whether the feed-forward projections have biases.</summary>
    public bool FeedForwardBias { get; init; }

    /// <summary>Whether queries and keys are normalized per head (Qwen3).</summary>
    public bool QueryKeyNorm { get; init; }

    /// <summary>Positions that attention looks back over (Mistral); null for all.</summary>
    public int? SlidingWindow { get; init; }

    /// <summary>Positions up to which attention over chunks (Qwen 2.5, An et al. 2024) is plain attention; null if there are no chunks.</summary>
    public int? AttentionChunk { get; init; }

    /// <inheritdoc/>
    public override ModelTask? Task => ModelTask.LanguageModelling;

    /// <summary>The longest sequence that the model takes: its positions, or its sliding window or first chunk if that is shorter.</summary>
    public override int MaxSequence => Math.Min(MaxPositions, Math.Min(SlidingWindow ?? MaxPositions, AttentionChunk ?? MaxPositions));

    /// <inheritdoc/>
    public override ModelShape ShapeOf(string name) =>
        new(name, Layers, HiddenSize, IntermediateSize, KeyValueHeads * HeadSize, VocabularySize, TiedHead) { Query = Heads * HeadSize };

    /// <summary>The angle in radians by which each pair of a head's channels, (i, i + half), rotates per position; half of <see cref="HeadSize"/>
    /// values.</summary>
    public float[] RotaryFrequencies() => [.. Enumerable.Range(0, HeadSize / 2).Select(pair => (float)RotaryFrequency(pair))];

    /// <inheritdoc/>
    public override IReadOnlyList<TensorDefinition> InputTensors => [new(EmbeddingName, [VocabularySize, HiddenSize])];

    /// <inheritdoc/>
    public override IReadOnlyList<TensorDefinition> HeadTensors =>
    [
        new(NormName, [HiddenSize]),
        .. TiedHead ? Array.Empty<TensorDefinition>() : [new(HeadWeightName, [VocabularySize, HiddenSize])],
    ];

    /// <inheritdoc/>
    public override IReadOnlyList<KeptLayer> OutOfReach =>
    [
        new KeptLayer(EmbeddingName[..^".weight".Length], "decoder embeddings stay in float"),
        .. TiedHead
            ? [new KeptLayer(HeadName, "it shares the embedding's matrix (tie_word_embeddings); a rule that names only this layer gives it its own matrix")]
            : Array.Empty<KeptLayer>(),
    ];

    /// <inheritdoc/>
    public override (string Layer, string Table)? Tied => TiedHead ? (HeadName, EmbeddingName[..^".weight".Length]) : null;

    /// <inheritdoc/>
    public override string Untie(string configJson) => TiedHead ? With(configJson, "tie_word_embeddings", false) : configJson;

    /// <summary>Of the supported types, only llama has a configuration that can give every layer a bias.</summary>
    public override string AddBiases(string configJson) =>
        ModelType == "llama" ? With(With(configJson, "attention_bias", true), "mlp_bias", true) : configJson;

    private static string With(string configJson, string key, bool value)
    {
        var config = JsonNode.Parse(configJson)!.AsObject();
        config[key] = value;
        return config.ToJsonString();
    }

    /// <inheritdoc/>
    public override string BlockPrefix(int block) => string.Create(CultureInfo.InvariantCulture, $"model.layers.{block}.");

    /// <inheritdoc/>
    public override IReadOnlyList<TensorDefinition> BlockTensors(int block)
    {
        var (queries, keys) = (Heads * HeadSize, KeyValueHeads * HeadSize);
        TensorDefinition Norm(string name, int width) => new(name + ".weight", [width]);
        return
        [
            Norm("input_layernorm", HiddenSize),
            Norm("post_attention_layernorm", HiddenSize),
            .. Linear("self_attn.q_proj", queries, HiddenSize, QueryKeyValueBias),
            .. Linear("self_attn.k_proj", keys, HiddenSize, QueryKeyValueBias),
            .. Linear("self_attn.v_proj", keys, HiddenSize, QueryKeyValueBias),
            .. Linear("self_attn.o_proj", HiddenSize, queries, OutputBias),
            .. QueryKeyNorm ? [Norm("self_attn.q_norm", HeadSize), Norm("self_attn.k_norm", HeadSize)] : Array.Empty<TensorDefinition>(),
            .. Linear("mlp.gate_proj", IntermediateSize, HiddenSize, FeedForwardBias),
            .. Linear("mlp.up_proj", IntermediateSize, HiddenSize, FeedForwardBias),
            .. Linear("mlp.down_proj", HiddenSize, IntermediateSize, FeedForwardBias),
        ];
    }

    /// <inheritdoc/>
    public override bool IsIgnored(string tensor) => tensor.EndsWith("rotary_emb.inv_freq", StringComparison.Ordinal) || tensor == HeadWeightName;

    /// <summary>The angle in radians by which a pair of channels rotates per position.</summary>
    /// <param name="pair">The pair, from 0.</param>
    public double RotaryFrequency(int pair)
    {
        var frequency = Math.Pow(RotaryBase, -2d * pair / HeadSize);
        if (RotaryScaling is not { } scaling)
        {
            return frequency;
        }

        if (scaling.OriginalContext == 0)
        {
            return frequency / scaling.Factor;
        }

        // Llama 3.1: high frequencies stay, low ones are divided, and those between are blended.
        var turns = scaling.OriginalContext * frequency / (2 * Math.PI);
        var blend = Math.Clamp((turns - scaling.LowFrequencyFactor) / (scaling.HighFrequencyFactor - scaling.LowFrequencyFactor), 0, 1);
        return frequency * (blend + ((1 - blend) / scaling.Factor));
    }

    /// <summary>Reads a <c>config.json</c>.</summary>
    /// <param name="json">Its text.</param>
    /// <param name="source">Where it comes from, for messages.</param>
    /// <exception cref="NibbleException">The text is not a configuration of a supported model.</exception>
    public static DecoderConfig Parse(string json, string source) => Parse(json, source, unknown: null);

    /// <summary>Reads a <c>config.json</c> and reports its unknown keys.</summary>
    internal static DecoderConfig Parse(string json, string source, ICollection<string>? unknown) => ConfigReader.Parse(json, source, config =>
    {
        var read = new Reader(config).Read();
        ConfigKeys.RequireKnown(config, unknown);
        return read;
    });

    private readonly struct Reader(ConfigReader config)
    {
        private const int DefaultWindow = 4096;

        public DecoderConfig Read()
        {
            var type = config.Text("model_type", string.Empty);
            RequireDense(type);
            if (!SupportedTypes.Contains(type))
            {
                throw new NibbleException(
                    $"{config.Source}: model_type is '{type}', which is not supported; supported: {string.Join(", ", SupportedTypes)} (SmolLM checkpoints are "
                    + $"of type llama)");
            }

            var activation = config.Text("hidden_act", "silu");
            if (activation != "silu")
            {
                throw new NibbleException($"{config.Source}: hidden_act is '{activation}', expected 'silu'");
            }

            var hidden = config.Positive("hidden_size");
            var heads = config.Positive("num_attention_heads");
            var keyValueHeads = config.Positive("num_key_value_heads", heads);
            var headSize = config.Positive("head_dim", Math.Max(1, hidden / heads));
            if (heads % keyValueHeads != 0 || headSize % 2 != 0)
            {
                throw new NibbleException(
                    $"{config.Source}: {heads} attention heads, {keyValueHeads} key-value heads, heads of {headSize}; expected the heads to be a multiple of "
                    + $"the key-value heads, and an even head size");
            }

            // Values that transformers has in a family's code are not required.
            var attentionBias = config.Flag("attention_bias", false) || type == "qwen2";
            var (window, types) = (Window(type), LayerTypes());
            if (types.Contains("sliding_attention") && window is null && type != "llama")
            {
                throw config.Wrong("layer_types", config.Get("layer_types")!.Value, "no sliding_attention, since there is no sliding_window");
            }

            var (rotaryBase, scaling) = Rotary(types);
            var read = new DecoderConfig
            {
                ModelType = type,
                VocabularySize = config.Positive("vocab_size"),
                HiddenSize = hidden,
                IntermediateSize = config.Positive("intermediate_size"),
                Layers = config.Positive("num_hidden_layers"),
                Heads = heads,
                KeyValueHeads = keyValueHeads,
                HeadSize = headSize,
                MaxPositions = config.Positive("max_position_embeddings", type switch { "mistral" => 131072, "qwen2" or "qwen3" => 32768, _ => 2048 }),
                NormEpsilon = config.PositiveNumber("rms_norm_eps", 1e-6, most: 1),
                RotaryBase = rotaryBase,
                RotaryScaling = scaling,
                TiedHead = config.Flag("tie_word_embeddings", false),
                QueryKeyValueBias = attentionBias,
                OutputBias = attentionBias && type != "qwen2",
                FeedForwardBias = config.Flag("mlp_bias", false),
                QueryKeyNorm = type == "qwen3",
                SlidingWindow = window,
                AttentionChunk = Chunk(),
            };
            return Array.TrueForAll(read.RotaryFrequencies(), frequency => float.IsFinite(frequency * read.MaxPositions))
                ? read
                : throw new NibbleException(
                    $"{config.Source}: the rotary frequencies of rope_theta {read.RotaryBase} and heads of {headSize} are infinite or not numbers, expected a "
                    + "base such as 10000");
        }

        /// <summary>Rejects mixtures of experts, which are identified by their type or by a number of experts.</summary>
        private void RequireDense(string type)
        {
            foreach (var key in (string[])["num_local_experts", "num_experts", "n_routed_experts"])
            {
                if (config.Get(key) is { ValueKind: JsonValueKind.Number } count && count.TryGetInt64(out var experts) && experts > 1)
                {
                    throw Mixture($"{key} is {experts}");
                }
            }

            if (!SupportedTypes.Contains(type)
                && (type.Contains("moe", StringComparison.Ordinal) || type is "mixtral" or "dbrx" or "deepseek_v2" or "deepseek_v3" or "gpt_oss"))
            {
                throw Mixture($"model_type is '{type}'");
            }
        }

        private NibbleException Mixture(string sign) =>
            new($"{config.Source}: {sign}: mixture-of-experts models are not supported; dense models are supported, of the types "
                + $"{string.Join(", ", SupportedTypes)}");

        // If the window is absent, it is 4096 in the families that have one. Null means no window.
        private int? Window(string type)
        {
            var slides = config.Flag("use_sliding_window", false);
            return !(type == "mistral" || (slides && type != "llama")) ? null
                : config.Get("sliding_window") is not null ? config.Positive("sliding_window")
                : config.Has("sliding_window") ? null : DefaultWindow;
        }

        /// <summary>The kinds of attention in the layers.</summary>
        private IReadOnlyList<string> LayerTypes()
        {
            var types = config.Texts("layer_types") ?? [];
            return types.FirstOrDefault(kind => kind is not ("full_attention" or "sliding_attention")) is { } other
                ? throw new NibbleException($"{config.Source}: layer_types names '{other}', which is not supported; supported: full_attention, "
                    + "sliding_attention")
                : [.. types.Distinct()];
        }

        /// <summary>The number of positions in one chunk with its surroundings, within which attention is plain.</summary>
        private int? Chunk()
        {
            if (config.Object("dual_chunk_attention_config") is not { } chunks)
            {
                return null;
            }

            var (size, local) = (chunks.Positive("chunk_size"), chunks.Positive("local_size"));
            chunks.Get("original_max_position_embeddings");
            ConfigKeys.RequireOnly(chunks, "attention over chunks is supported only if it attends to every chunk");
            return size > local ? size - local : throw chunks.Wrong("local_size", chunks.Get("local_size")!.Value,
                $"fewer than the {size} positions of a chunk");
        }

        /// <summary>The base of the rotary frequencies and their scaling, the same for all layers.</summary>
        private (double Base, RotaryScaling? Scaling) Rotary(IReadOnlyList<string> layerTypes)
        {
            var (parameters, scaling) = (config.Object("rope_parameters"), config.Object("rope_scaling"));
            if (parameters is not null && scaling is not null && !JsonElement.DeepEquals(config.Get("rope_parameters")!.Value,
                config.Get("rope_scaling")!.Value))
            {
                throw config.Wrong("rope_scaling", config.Get("rope_scaling")!.Value, "the same as rope_parameters, or only one of them");
            }

            var otherwise = config.PositiveNumber("rope_theta", 10000);
            if ((parameters ?? scaling) is not { } rotary)
            {
                return (otherwise, null);
            }

            // Newer files have an object for each kind of attention.
            if (!rotary.Unread.Any(property => property.Value.ValueKind == JsonValueKind.Object))
            {
                return Read(rotary, otherwise);
            }

            var kinds = layerTypes.Count > 0 ? layerTypes : ["full_attention"];
            var read = kinds.Select(kind => (Kind: kind, Rotary: Read(
                rotary.Object(kind) ?? throw new NibbleException($"{rotary.Source} has nothing for '{kind}', which layers use; expected an object with "
                    + "rope_theta"), otherwise))).ToList();
            return read.Find(other => other.Rotary != read[0].Rotary) is { Kind: { } differs }
                ? throw new NibbleException($"{rotary.Source} differs between '{read[0].Kind}' and '{differs}', which is not supported; expected the same "
                    + "for all layers")
                : read[0].Rotary;
        }

        private static (double Base, RotaryScaling? Scaling) Read(ConfigReader rotary, double otherwise)
        {
            var read = (rotary.PositiveNumber("rope_theta", otherwise), Scaling(rotary));
            if (rotary.Number("partial_rotary_factor", 1) is var share and not 1)
            {
                throw new NibbleException($"{rotary.Source}: 'partial_rotary_factor' is {share}, expected 1 or none: rotating only part of a head is "
                    + "not supported");
            }

            foreach (var pointless in (string[])["factor", "finetuned", "original_max_position_embeddings"])
            {
                rotary.Get(pointless);
            }

            ConfigKeys.RequireOnly(rotary, "it would change the rotary frequencies, which is not supported");
            return read;
        }

        private static RotaryScaling? Scaling(ConfigReader config)
        {
            var kind = config.Text("rope_type", config.Text("type", "default"));
            config.Get("type");
            switch (kind)
            {
                case "default":
                    return null;
                case "linear":
                    return new RotaryScaling(config.PositiveNumber("factor"), 1, 1, 0);
                case "llama3":
                    var scaling = new RotaryScaling(
                        config.PositiveNumber("factor"), config.PositiveNumber("low_freq_factor"), config.PositiveNumber("high_freq_factor"),
                        config.Positive("original_max_position_embeddings"));
                    return scaling.HighFrequencyFactor > scaling.LowFrequencyFactor ? scaling
                        : throw config.Wrong("high_freq_factor", config.Get("high_freq_factor")!.Value,
                            $"more than low_freq_factor, {scaling.LowFrequencyFactor}");
                default:
                    throw new NibbleException($"{config.Source}: rotary scaling of type '{kind}' is not supported; supported: default, linear, llama3");
            }
        }
    }
}
