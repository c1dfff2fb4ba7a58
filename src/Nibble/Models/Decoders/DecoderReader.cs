using System.Text.Json;
using Nibble.Models.Decoders.Families;

namespace Nibble.Models.Decoders;

/// <summary>The values that keys of a family's configuration have if they are missing.</summary>
internal sealed record DecoderDefaults
{
    /// <summary><c>max_position_embeddings</c>.</summary>
    public int Positions { get; init; } = 2048;

    /// <summary><c>rms_norm_eps</c>.</summary>
    public double NormEpsilon { get; init; } = 1e-6;

    /// <summary><c>rope_theta</c>.</summary>
    public double RotaryBase { get; init; } = 10000;

    /// <summary><c>tie_word_embeddings</c>.</summary>
    public bool TiedHead { get; init; }

    /// <summary><c>num_attention_heads</c>; 0 if the key is required.</summary>
    public int Heads { get; init; }

    /// <summary><c>num_key_value_heads</c>; 0 for as many as heads.</summary>
    public int KeyValueHeads { get; init; }

    /// <summary><c>head_dim</c>; 0 for the model's width divided by the heads.</summary>
    public int HeadSize { get; init; }

    /// <summary><c>vocab_size</c>; 0 if the key is required.</summary>
    public int Vocabulary { get; init; }

    /// <summary>Whether <c>partial_rotary_factor</c> is supported.</summary>
    public bool PartialRotary { get; init; }
}

/// <summary>Reads the keys of a decoder's <c>config.json</c> that several families share.</summary>
/// <param name="config">The configuration.</param>
internal sealed class DecoderReader(ConfigReader config)
{
    /// <summary>The kind of layers whose attention sees all positions.</summary>
    public const string Full = "full_attention";

    /// <summary>The kind of layers whose attention has a window.</summary>
    public const string Sliding = "sliding_attention";

    /// <summary>The values of <c>rope_type</c>.</summary>
    public static IReadOnlyList<string> RotaryTypes { get; } = ["default", "dynamic", "linear", "llama3", "longrope", "yarn"];

    /// <summary>The configuration.</summary>
    public ConfigReader Config => config;

    /// <summary>The <c>model_type</c>.</summary>
    public string Type { get; } = config.Text("model_type", string.Empty);

    /// <summary>The family of the type.</summary>
    /// <exception cref="NibbleException">The type is not supported.</exception>
    public DecoderFamily Family()
    {
        RequireDense();
        return DecoderFamily.Find(Type) ?? throw new NibbleException(
            $"{config.Source}: model_type is '{Type}', which is not supported; supported: {string.Join(", ", DecoderConfig.SupportedTypes)} (SmolLM "
            + "checkpoints are of type llama)");
    }

    /// <summary>The sizes, and everything else that all families have.</summary>
    /// <param name="defaults">The family's values of missing keys.</param>
    /// <param name="pattern">How the layers see positions, from the configuration read so far.</param>
    public DecoderConfig Read(DecoderDefaults defaults, Func<DecoderConfig, IReadOnlyList<DecoderLayer>> pattern)
    {
        var hidden = config.Positive("hidden_size");
        var heads = config.Positive("num_attention_heads", defaults.Heads);
        var keyValueHeads = config.Positive("num_key_value_heads", defaults.KeyValueHeads > 0 ? defaults.KeyValueHeads : heads);
        var headSize = config.Positive("head_dim", defaults.HeadSize > 0 ? defaults.HeadSize : Math.Max(1, hidden / heads));
        if (heads % keyValueHeads != 0 || headSize % 2 != 0)
        {
            throw new NibbleException(
                $"{config.Source}: {heads} attention heads, {keyValueHeads} key-value heads, heads of {headSize}; expected the heads to be a multiple of "
                + $"the key-value heads, and an even head size");
        }

        var read = new DecoderConfig
        {
            ModelType = Type,
            VocabularySize = config.Positive("vocab_size", defaults.Vocabulary),
            HiddenSize = hidden,
            IntermediateSize = config.Positive("intermediate_size"),
            Layers = config.Positive("num_hidden_layers"),
            Heads = heads,
            KeyValueHeads = keyValueHeads,
            HeadSize = headSize,
            MaxPositions = config.Positive("max_position_embeddings", defaults.Positions),
            NormEpsilon = config.PositiveNumber("rms_norm_eps", defaults.NormEpsilon, most: 1),
            TiedHead = config.Flag("tie_word_embeddings", defaults.TiedHead),
            LayerPattern = [],
        };
        return read with { LayerPattern = pattern(read) };
    }

    /// <summary>Reads the name of the activation.</summary>
    /// <param name="name">The key.</param>
    /// <param name="expected">The names that the family supports. The first is the value of a missing key.</param>
    public void RequireActivation(string name, params string[] expected)
    {
        var activation = config.Text(name, expected[0]);
        if (!expected.Contains(activation))
        {
            throw new NibbleException($"{config.Source}: {name} is '{activation}', expected '{expected[0]}'");
        }
    }

    /// <summary>A number above 0; null if the key has the value null, or is missing and there is no other value.</summary>
    public double? Optional(string name, double? absent = null) =>
        config.Get(name) is not null ? config.PositiveNumber(name) : config.Has(name) ? null : absent;

    /// <summary>The kind of each layer, from <c>layer_types</c>; null if the key is missing.</summary>
    /// <param name="layers">The number of layers.</param>
    public IReadOnlyList<string>? LayerTypes(int layers)
    {
        if (config.Texts("layer_types") is not { Count: > 0 } types)
        {
            return null;
        }

        return types.FirstOrDefault(kind => kind is not (Full or Sliding)) is { } other
            ? throw new NibbleException($"{config.Source}: layer_types names '{other}', which is not supported; supported: {Full}, {Sliding}")
            : types.Count == layers ? types
            : throw new NibbleException($"{config.Source}: layer_types has {types.Count} entries, expected one for each of the {layers} layers");
    }

    /// <summary>The rotary embedding of the layers of one kind.</summary>
    /// <param name="kind">The kind.</param>
    /// <param name="headSize">The width of a head.</param>
    /// <param name="defaults">The family's values of missing keys.</param>
    public RotaryEmbedding Rotary(string kind, int headSize, DecoderDefaults defaults)
    {
        var (parameters, scaling) = (config.Object("rope_parameters"), config.Object("rope_scaling"));
        if (parameters is not null && scaling is not null && !JsonElement.DeepEquals(config.Get("rope_parameters")!.Value,
            config.Get("rope_scaling")!.Value))
        {
            throw config.Wrong("rope_scaling", config.Get("rope_scaling")!.Value, "the same as rope_parameters, or only one of them");
        }

        var otherwise = config.PositiveNumber("rope_theta", defaults.RotaryBase);
        var share = defaults.PartialRotary ? config.PositiveNumber("partial_rotary_factor", 1, most: 1) : 1;
        if ((parameters ?? scaling) is not { } rotary)
        {
            return new RotaryEmbedding(otherwise, Channels(headSize, share));
        }

        // Newer files have an object for each kind of attention.
        return rotary.Unread.Any(property => property.Value.ValueKind == JsonValueKind.Object)
            ? Read(rotary.Object(kind) ?? throw new NibbleException($"{rotary.Source} has nothing for '{kind}', which layers use; expected an object with "
                + "rope_theta"), otherwise, share, headSize, defaults)
            : Read(rotary, otherwise, share, headSize, defaults);
    }

    /// <summary>Rejects rotary frequencies that overflow at the model's last position.</summary>
    public void RequireFinite(DecoderConfig read)
    {
        foreach (var rotary in read.LayerPattern.Select(layer => layer.Rotary).OfType<RotaryEmbedding>().Distinct())
        {
            if (!Array.TrueForAll(rotary.Frequencies(), frequency => float.IsFinite(frequency * read.MaxPositions)) || !double.IsFinite(rotary.Magnitude))
            {
                throw new NibbleException(
                    $"{config.Source}: the rotary frequencies of rope_theta {rotary.Base} and heads of {read.HeadSize} are infinite or not numbers, expected "
                    + "a base such as 10000");
            }
        }
    }

    private int Channels(int headSize, double share) => (int)(headSize * share) is var channels and > 0 && channels % 2 == 0 ? channels
        : throw new NibbleException($"{config.Source}: 'partial_rotary_factor' is {share}, expected a part of heads of {headSize} with an even number of "
            + "channels above 0");

    private RotaryEmbedding Read(ConfigReader rotary, double otherwise, double share, int headSize, DecoderDefaults defaults)
    {
        var own = rotary.Number("partial_rotary_factor", share);
        if (own != 1 && !defaults.PartialRotary)
        {
            throw new NibbleException($"{rotary.Source}: 'partial_rotary_factor' is {own}, expected 1 or none: rotating only part of a head is "
                + $"not supported for models of type {Type}");
        }

        var read = new RotaryEmbedding(rotary.PositiveNumber("rope_theta", otherwise), Channels(headSize, own));
        read = read with { Scaling = Scaling(rotary, read.Channels, config.Positive("max_position_embeddings", defaults.Positions)) };
        foreach (var pointless in (string[])["factor", "finetuned", "original_max_position_embeddings"])
        {
            rotary.Get(pointless);
        }

        ConfigKeys.RequireOnly(rotary, "it would change the rotary frequencies, which is not supported");
        return read;
    }

    private RotaryScaling? Scaling(ConfigReader rotary, int channels, int positions)
    {
        var kind = rotary.Text("rope_type", rotary.Text("type", "default"));
        rotary.Get("type");
        switch (kind)
        {
            case "default":
                return null;
            case "dynamic":

                // The base changes only for texts that are longer than the model's positions, which it does not take here.
                return null;
            case "linear":
                return new LinearScaling(rotary.PositiveNumber("factor"));
            case "llama3":
                var scaling = new Llama3Scaling(
                    rotary.PositiveNumber("factor"), rotary.PositiveNumber("low_freq_factor"), rotary.PositiveNumber("high_freq_factor"),
                    rotary.Positive("original_max_position_embeddings"));
                return scaling.HighFrequencyFactor > scaling.LowFrequencyFactor ? scaling
                    : throw rotary.Wrong("high_freq_factor", rotary.Get("high_freq_factor")!.Value,
                        $"more than low_freq_factor, {scaling.LowFrequencyFactor}");
            case "yarn":
                return Yarn(rotary, positions);
            case "longrope" or "su":
                return LongRope(rotary, channels / 2, positions);
            default:
                throw new NibbleException(
                    $"{rotary.Source}: rotary scaling of type '{kind}' is not supported; supported: {string.Join(", ", RotaryTypes)}");
        }
    }

    private YarnScaling Yarn(ConfigReader rotary, int positions)
    {
        var yarn = new YarnScaling(rotary.PositiveNumber("factor"), OriginalContext(rotary, positions))
        {
            BetaFast = rotary.PositiveNumber("beta_fast", 32),
            BetaSlow = rotary.PositiveNumber("beta_slow", 1),
            Truncates = rotary.Flag("truncate", true),
            AttentionFactor = rotary.Get("attention_factor") is not null ? rotary.PositiveNumber("attention_factor") : null,
        };
        if (yarn.BetaSlow >= yarn.BetaFast)
        {
            throw rotary.Get("beta_fast") is { } fast ? rotary.Wrong("beta_fast", fast, $"more than beta_slow, {yarn.BetaSlow}")
                : rotary.Wrong("beta_slow", rotary.Get("beta_slow")!.Value, $"less than beta_fast, {yarn.BetaFast}");
        }

        if (yarn.AttentionFactor is null && rotary.Get("mscale") is not null && rotary.Get("mscale_all_dim") is not null)
        {
            double Magnitude(double scale) => yarn.Factor <= 1 ? 1 : (0.1 * scale * Math.Log(yarn.Factor)) + 1;
            return yarn with { AttentionFactor = Magnitude(rotary.Number("mscale")) / Magnitude(rotary.PositiveNumber("mscale_all_dim")) };
        }

        return yarn;
    }

    private LongRopeScaling LongRope(ConfigReader rotary, int pairs, int positions)
    {
        var original = OriginalContext(rotary, positions);
        var factor = Math.Max(positions, original) / (double)original;
        return new LongRopeScaling(
            Factors(rotary, "short_factor", pairs), Factors(rotary, "long_factor", pairs), original,
            rotary.Get("attention_factor") is not null ? rotary.PositiveNumber("attention_factor")
                : factor <= 1 ? 1 : Math.Sqrt(1 + (Math.Log(factor) / Math.Log(original))));
    }

    /// <summary>The context before the stretch, from the scaling, from the configuration around it, or else the model's positions.</summary>
    private int OriginalContext(ConfigReader rotary, int positions)
    {
        const string Key = "original_max_position_embeddings";
        return rotary.Get(Key) is not null ? rotary.Positive(Key)
            : config.Get(Key) is not null ? config.Positive(Key)
            : positions;
    }

    private static IReadOnlyList<double> Factors(ConfigReader rotary, string name, int pairs) => rotary.Numbers(name) is { } factors
        && factors.Count == pairs && factors.All(factor => factor > 0) ? factors
        : rotary.Get(name) is { } wrong ? throw rotary.Wrong(name, wrong, $"{pairs} numbers above 0, one for each pair of rotated channels")
        : throw new NibbleException($"{rotary.Source}: '{name}' is missing, expected {pairs} numbers, one for each pair of rotated channels");

    /// <summary>Rejects mixtures of experts, which are identified by their type or by a number of experts.</summary>
    private void RequireDense()
    {
        foreach (var key in (string[])["num_local_experts", "num_experts", "n_routed_experts"])
        {
            if (config.Get(key) is { ValueKind: JsonValueKind.Number } count && count.TryGetInt64(out var experts) && experts > 1)
            {
                throw Mixture($"{key} is {experts}");
            }
        }

        if (!DecoderConfig.SupportedTypes.Contains(Type)
            && (Type.Contains("moe", StringComparison.Ordinal) || Type is "mixtral" or "dbrx" or "deepseek_v2" or "deepseek_v3" or "gpt_oss"))
        {
            throw Mixture($"model_type is '{Type}'");
        }
    }

    private NibbleException Mixture(string sign) =>
        new($"{config.Source}: {sign}: mixture-of-experts models are not supported; dense models are supported, of the types "
            + $"{string.Join(", ", DecoderConfig.SupportedTypes)}");
}
