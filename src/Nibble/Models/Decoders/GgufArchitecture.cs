namespace Nibble.Models.Decoders;

/// <summary>A number in a file's metadata.</summary>
/// <param name="Name">The key, without the architecture's prefix.</param>
/// <param name="Value">The number.</param>
/// <param name="IsWhole">Whether it is stored as a whole number; otherwise as binary32.</param>
internal readonly record struct GgufKey(string Name, double Value, bool IsWhole)
{
    /// <summary>A number.</summary>
    public GgufKey(string name, double value)
        : this(name, value, IsWhole: false)
    {
    }

    /// <summary>A whole number.</summary>
    public GgufKey(string name, int value)
        : this(name, value, IsWhole: true)
    {
    }
}

/// <summary>The numbers in a file's metadata.</summary>
internal interface IGgufKeys
{
    /// <summary>A number, by its key without the architecture's prefix; null if it is missing.</summary>
    /// <exception cref="NibbleException">It is not a number above 0.</exception>
    double? Number(string name);

    /// <summary>A whole number; null if it is missing.</summary>
    /// <exception cref="NibbleException">It is not a whole number above 0.</exception>
    int? Count(string name);
}

/// <summary>How llama.cpp stores a model, and what it cannot compute.</summary>
/// <remarks>ggml-org/llama.cpp, <c>convert_hf_to_gguf.py</c> and <c>src/models</c>.</remarks>
/// <param name="Name">The architecture's name, which is also the prefix of its keys.</param>
internal sealed record GgufArchitecture(string Name)
{
    /// <summary>Whether the rotary embedding turns pairs of neighbouring rows, (2i, 2i + 1), so that files hold a head's rows in that order.</summary>
    public bool ReordersHeads { get; init; }

    /// <summary>Whether queries, keys and values can have biases.</summary>
    public bool QueryKeyValueBias { get; init; }

    /// <summary>Whether attention's output can have a bias.</summary>
    public bool OutputBias { get; init; }

    /// <summary>Whether the feed-forward part can have biases.</summary>
    public bool FeedForwardBias { get; init; }

    /// <summary>Whether each rotary frequency can have a divisor, as in Llama 3.1.</summary>
    public bool RotaryFactors { get; init; }

    /// <summary>Whether each rotary frequency can have two divisors, for short and for long texts.</summary>
    public bool LongRope { get; init; }

    /// <summary>Whether all heads together must be as wide as the model.</summary>
    public bool HeadsAreWholeWidth { get; init; }

    /// <summary>Whether the head is always the embedding.</summary>
    public bool AlwaysTied { get; init; }

    /// <summary>Keys of the architecture's own, without the prefix.</summary>
    public IReadOnlyList<GgufKey> Keys { get; init; } = [];

    /// <summary>What else of a model the architecture cannot compute, as in "a model with ..."; null for nothing.</summary>
    public string? Fault { get; init; }

    /// <summary>What of a model the architecture cannot compute, as in "a model with ..."; null for nothing.</summary>
    public string? FaultOf(DecoderConfig config) =>
        config.OutputBias && !OutputBias ? "biases of attention's output (attention_bias)"
        : config.QueryKeyValueBias && !QueryKeyValueBias ? "biases of queries, keys and values (attention_bias)"
        : config.FeedForwardBias && !FeedForwardBias ? "biases of the feed-forward part (mlp_bias)"
        : AlwaysTied && !config.TiedHead ? "a head that is not tied to the embedding (tie_word_embeddings)"
        : HeadsAreWholeWidth && config.Heads * config.HeadSize != config.HiddenSize
            ? $"{config.Heads} heads of {config.HeadSize}, which together are not as wide as its {config.HiddenSize} channels,"
        : config.Rotary?.Scaling switch
        {
            Llama3Scaling when !RotaryFactors => "rotary scaling of type llama3",
            LongRopeScaling when !LongRope => "rotary scaling of type longrope",
            YarnScaling { AttentionFactor: not null } => "an attention_factor of its rotary scaling of type yarn",
            YarnScaling { Truncates: false } or YarnScaling { BetaFast: not 32 } or YarnScaling { BetaSlow: not 1 } =>
                "rotary scaling of type yarn whose beta_fast, beta_slow or truncate are not 32, 1 and true",
            _ => Fault,
        };
}
