using System.Text.Json;

namespace Nibble.Torch.Models.Llama;

/// <summary>How rotary frequencies are stretched for long contexts (<c>rope_scaling</c> of type <c>llama3</c>, or <c>linear</c> when only the factor is used).</summary>
/// <param name="Factor">By how much low frequencies are divided.</param>
/// <param name="LowFrequencyFactor">Wavelengths above original context / this are divided in full.</param>
/// <param name="HighFrequencyFactor">Wavelengths below original context / this are left alone.</param>
/// <param name="OriginalContext">The context length that the model was first trained with; 0 divides all frequencies.</param>
public sealed record RotaryScaling(double Factor, double LowFrequencyFactor, double HighFrequencyFactor, int OriginalContext);

/// <summary>The shape of a Llama-family decoder, as its <c>config.json</c> gives it.</summary>
public sealed record LlamaConfig
{
    /// <summary>The <c>model_type</c>s that this family loads.</summary>
    public static IReadOnlyList<string> SupportedTypes { get; } = ["llama", "mistral", "qwen2", "qwen3"];

    /// <summary>The <c>model_type</c>.</summary>
    public required string ModelType { get; init; }

    /// <summary>Tokens in the vocabulary.</summary>
    public required int VocabularySize { get; init; }

    /// <summary>Width of the residual stream.</summary>
    public required int HiddenSize { get; init; }

    /// <summary>Width inside the feed-forward part.</summary>
    public required int IntermediateSize { get; init; }

    /// <summary>Decoder blocks.</summary>
    public required int Layers { get; init; }

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

    /// <summary>Whether queries and keys are normalised per head (Qwen3).</summary>
    public bool QueryKeyNorm { get; init; }

    /// <summary>Positions that attention looks back over (Mistral); null for all.</summary>
    public int? SlidingWindow { get; init; }

    /// <summary>The longest sequence that the model takes: its positions, or its sliding window where that is shorter.</summary>
    public int MaxSequence => Math.Min(MaxPositions, SlidingWindow ?? MaxPositions);

    /// <summary>Reads a <c>config.json</c>.</summary>
    /// <param name="json">Its text.</param>
    /// <param name="source">Where it comes from, for messages.</param>
    /// <exception cref="NibbleException">The text is not a configuration of a supported model.</exception>
    public static LlamaConfig Parse(string json, string source)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            return new Reader(document.RootElement, source).Read();
        }
        catch (JsonException e)
        {
            throw new NibbleException($"{source}: not valid JSON ({e.Message})", e);
        }
    }

    private readonly struct Reader(JsonElement root, string source)
    {
        public LlamaConfig Read()
        {
            if (root.ValueKind != JsonValueKind.Object)
            {
                throw new NibbleException($"{source}: found {root.ValueKind}, expected an object");
            }

            var type = Text("model_type", string.Empty);
            RequireDense(type);
            if (!SupportedTypes.Contains(type))
            {
                throw new NibbleException($"{source}: model_type is '{type}', which is not supported; supported: {string.Join(", ", SupportedTypes)} (SmolLM checkpoints are of type llama)");
            }

            var activation = Text("hidden_act", "silu");
            if (activation != "silu")
            {
                throw new NibbleException($"{source}: hidden_act is '{activation}', expected 'silu'");
            }

            var hidden = Positive("hidden_size");
            var heads = Positive("num_attention_heads");
            var keyValueHeads = Positive("num_key_value_heads", heads);
            var headSize = Positive("head_dim", Math.Max(1, hidden / heads));
            if (heads % keyValueHeads != 0 || headSize % 2 != 0)
            {
                throw new NibbleException($"{source}: {heads} attention heads, {keyValueHeads} key-value heads, heads of {headSize}; expected the heads to be a multiple of the key-value heads, and an even head size");
            }

            var attentionBias = Flag("attention_bias", type == "qwen2");
            var rotary = Rotary("rope_parameters") ?? Rotary("rope_scaling");
            return new LlamaConfig
            {
                ModelType = type,
                VocabularySize = Positive("vocab_size"),
                HiddenSize = hidden,
                IntermediateSize = Positive("intermediate_size"),
                Layers = Positive("num_hidden_layers"),
                Heads = heads,
                KeyValueHeads = keyValueHeads,
                HeadSize = headSize,
                MaxPositions = Positive("max_position_embeddings", 2048),
                NormEpsilon = Number("rms_norm_eps", 1e-6),
                RotaryBase = rotary is { } r && r.Get("rope_theta") is not null ? r.Number("rope_theta", 0) : Number("rope_theta", 10000),
                RotaryScaling = rotary?.Scaling(),
                TiedHead = Flag("tie_word_embeddings", false),
                QueryKeyValueBias = attentionBias,
                OutputBias = attentionBias && type != "qwen2",
                FeedForwardBias = Flag("mlp_bias", false),
                QueryKeyNorm = type == "qwen3",
                SlidingWindow = Window(type),
            };
        }

        /// <summary>Refuses mixtures of experts, which say so by their type or by a number of experts.</summary>
        private void RequireDense(string type)
        {
            foreach (var key in (string[])["num_local_experts", "num_experts", "n_routed_experts"])
            {
                if (Get(key) is { ValueKind: JsonValueKind.Number } count && count.TryGetInt64(out var experts) && experts > 1)
                {
                    throw Mixture($"{key} is {experts}");
                }
            }

            if (!SupportedTypes.Contains(type) && (type.Contains("moe", StringComparison.Ordinal) || type is "mixtral" or "dbrx" or "deepseek_v2" or "deepseek_v3" or "gpt_oss"))
            {
                throw Mixture($"model_type is '{type}'");
            }
        }

        private NibbleException Mixture(string sign) =>
            new($"{source}: {sign}: mixture-of-experts models are not supported; supported are dense models of the types {string.Join(", ", SupportedTypes)}");

        private int? Window(string type) =>
            (type == "mistral" || Flag("use_sliding_window", false)) && Get("sliding_window") is not null ? Positive("sliding_window") : null;

        private Reader? Rotary(string name) => Get(name) is { } value
            ? value.ValueKind == JsonValueKind.Object ? new Reader(value, $"{source}: {name}") : throw Wrong(name, value, "an object")
            : null;

        private RotaryScaling? Scaling()
        {
            var kind = Text("rope_type", Text("type", "default"));
            return kind switch
            {
                "default" => null,
                "linear" => new RotaryScaling(Number("factor"), 1, 1, 0),
                "llama3" => new RotaryScaling(Number("factor"), Number("low_freq_factor"), Number("high_freq_factor"), Positive("original_max_position_embeddings")),
                _ => throw new NibbleException($"{source}: rotary scaling of type '{kind}' is not supported; supported: default, linear, llama3"),
            };
        }

        private JsonElement? Get(string name) =>
            root.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;

        private string Text(string name, string absent) => Get(name) is { } value
            ? value.ValueKind == JsonValueKind.String ? value.GetString()! : throw Wrong(name, value, "a text")
            : absent;

        private bool Flag(string name, bool absent) => Get(name) is { } value
            ? value.ValueKind is JsonValueKind.True or JsonValueKind.False ? value.GetBoolean() : throw Wrong(name, value, "true or false")
            : absent;

        private double Number(string name, double? absent = null) => Get(name) is { } value
            ? value.ValueKind == JsonValueKind.Number ? value.GetDouble() : throw Wrong(name, value, "a number")
            : absent ?? throw new NibbleException($"{source}: '{name}' is missing, expected a number");

        private int Positive(string name, int absent = 0)
        {
            if (Get(name) is not { } value)
            {
                return absent > 0 ? absent : throw new NibbleException($"{source}: '{name}' is missing, expected a positive integer");
            }

            return value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var number) && number is > 0 and <= 1 << 24
                ? number
                : throw Wrong(name, value, "a positive integer of at most 2^24");
        }

        private NibbleException Wrong(string name, JsonElement found, string expected) =>
            new($"{source}: '{name}' is {found.GetRawText()}, expected {expected}");
    }
}
