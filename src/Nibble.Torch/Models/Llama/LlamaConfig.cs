using System.Text.Json;
using Nibble.Planning;

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

    /// <summary>The sizes that costs depend on.</summary>
    /// <param name="name">What to call the model.</param>
    public ModelShape ShapeOf(string name) => new(name, Layers, HiddenSize, IntermediateSize, KeyValueHeads * HeadSize, VocabularySize, TiedHead) { Query = Heads * HeadSize };

    /// <summary>Radians by which each pair of a head's channels, (i, i + half), turns from one position to the next; half of <see cref="HeadSize"/>.</summary>
    public float[] RotaryFrequencies() => [.. Enumerable.Range(0, HeadSize / 2).Select(pair => (float)RotaryTable.Frequency(this, pair))];

    /// <summary>Reads a <c>config.json</c>.</summary>
    /// <param name="json">Its text.</param>
    /// <param name="source">Where it comes from, for messages.</param>
    /// <exception cref="NibbleException">The text is not a configuration of a supported model.</exception>
    public static LlamaConfig Parse(string json, string source) => ConfigReader.Parse(json, source, config => new Reader(config).Read());

    private readonly struct Reader(ConfigReader config)
    {
        public LlamaConfig Read()
        {
            var type = config.Text("model_type", string.Empty);
            RequireDense(type);
            if (!SupportedTypes.Contains(type))
            {
                throw new NibbleException($"{config.Source}: model_type is '{type}', which is not supported; supported: {string.Join(", ", SupportedTypes)} (SmolLM checkpoints are of type llama)");
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
                throw new NibbleException($"{config.Source}: {heads} attention heads, {keyValueHeads} key-value heads, heads of {headSize}; expected the heads to be a multiple of the key-value heads, and an even head size");
            }

            var attentionBias = config.Flag("attention_bias", type == "qwen2");
            var rotary = config.Object("rope_parameters") ?? config.Object("rope_scaling");
            var read = new LlamaConfig
            {
                ModelType = type,
                VocabularySize = config.Positive("vocab_size"),
                HiddenSize = hidden,
                IntermediateSize = config.Positive("intermediate_size"),
                Layers = config.Positive("num_hidden_layers"),
                Heads = heads,
                KeyValueHeads = keyValueHeads,
                HeadSize = headSize,
                MaxPositions = config.Positive("max_position_embeddings", 2048),
                NormEpsilon = config.PositiveNumber("rms_norm_eps", 1e-6, most: 1),
                RotaryBase = rotary is { } r && r.Get("rope_theta") is not null ? r.PositiveNumber("rope_theta") : config.PositiveNumber("rope_theta", 10000),
                RotaryScaling = rotary is { } scaled ? Scaling(scaled) : null,
                TiedHead = config.Flag("tie_word_embeddings", false),
                QueryKeyValueBias = attentionBias,
                OutputBias = attentionBias && type != "qwen2",
                FeedForwardBias = config.Flag("mlp_bias", false),
                QueryKeyNorm = type == "qwen3",
                SlidingWindow = Window(type),
            };
            return Array.TrueForAll(read.RotaryFrequencies(), frequency => float.IsFinite(frequency * read.MaxPositions))
                ? read
                : throw new NibbleException(
                    $"{config.Source}: the rotary frequencies of rope_theta {read.RotaryBase} and heads of {headSize} are infinite or no numbers, expected a "
                    + "base such as 10000");
        }

        /// <summary>Refuses mixtures of experts, which say so by their type or by a number of experts.</summary>
        private void RequireDense(string type)
        {
            foreach (var key in (string[])["num_local_experts", "num_experts", "n_routed_experts"])
            {
                if (config.Get(key) is { ValueKind: JsonValueKind.Number } count && count.TryGetInt64(out var experts) && experts > 1)
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
            new($"{config.Source}: {sign}: mixture-of-experts models are not supported; supported are dense models of the types {string.Join(", ", SupportedTypes)}");

        private int? Window(string type) =>
            (type == "mistral" || config.Flag("use_sliding_window", false)) && config.Get("sliding_window") is not null ? config.Positive("sliding_window") : null;

        private static RotaryScaling Stretched(ConfigReader config)
        {
            var (low, high) = (config.PositiveNumber("low_freq_factor"), config.PositiveNumber("high_freq_factor"));
            return low < high
                ? new RotaryScaling(config.PositiveNumber("factor"), low, high, config.Positive("original_max_position_embeddings"))
                : throw new NibbleException($"{config.Source}: low_freq_factor is {low} and high_freq_factor {high}, expected the first below the second");
        }

        private static RotaryScaling? Scaling(ConfigReader config)
        {
            var kind = config.Text("rope_type", config.Text("type", "default"));
            return kind switch
            {
                "default" => null,
                "linear" => new RotaryScaling(config.PositiveNumber("factor"), 1, 1, 0),
                "llama3" => Stretched(config),
                _ => throw new NibbleException($"{config.Source}: rotary scaling of type '{kind}' is not supported; supported: default, linear, llama3"),
            };
        }
    }
}
