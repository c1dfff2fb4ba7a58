using System.Globalization;
using System.Text.RegularExpressions;
using Nibble.Numerics;

namespace Nibble.Recipes;

/// <summary>Recipes that are fully described by a short name, such as <c>w4a16-g32</c>.</summary>
/// <remarks>
/// A preset keeps <c>lm_head</c> in float and gives every other linear layer one scheme. The name starts with the bits of the weights
/// (2 to 8, or t for ternary) and of the activations (16 for float, 8 or 4). By default, weights are symmetric per output channel and
/// activations symmetric per token. Options change this:
/// <list type="bullet">
/// <item><c>-g32</c>: weights asymmetric in groups of 32 (ternary weights stay symmetric). Followed by <c>-sym</c>: symmetric.</item>
/// <item><c>-stretched</c>: weights on the symmetric grid without zero (see <see cref="CodeFormat.Stretched"/>), which suits training at 2 bits.</item>
/// <item><c>-po2</c>: scales of weights and of static activations are powers of two.</item>
/// <item><c>-mse</c>: weight ranges with the least squared error instead of min-max.</item>
/// <item><c>-rotated</c>: the model is rotated by Hadamard matrices first.</item>
/// <item>The algorithms of <see cref="WeightAlgorithms"/> in their order, such as <c>-gptq</c>, <c>-awq</c>, <c>-smoothquant-gptq</c>. With awq
/// and learned rounding, weight ranges have the least squared error. With gptq and gptaq, they are searched.</item>
/// <item><c>-kv8</c> (2 to 8): the key-value cache asymmetric per token. <c>-kv8c</c>: its keys per channel, calibrated by min-max.</item>
/// <item><c>-encoder</c>: training settings for a pretrained encoder (<see cref="QatSettings.ForEncoder"/>). PTQ is unchanged.</item>
/// <item><c>-static</c>: activations asymmetric per tensor, calibrated by min-max, or by the observer named right after it:
/// <c>-percentile</c>, <c>-mse</c>, <c>-entropy</c> or <c>-average</c>.</item>
/// <item>At the end, <c>-hybrid-weights-ptq-activations-qat</c>: weights by PTQ, ranges of the activations by QAT. <c>-hybrid-attention-qat</c>: attention
/// by QAT, the rest by PTQ. <c>-hybrid-mlp-qat</c>: the reverse. Unless the name says otherwise, PTQ is GPTAQ (after SmoothQuant for the first), and
/// trained activations are static with the observer <c>mse</c>. <c>hybrid-weights-ptq-activations-qat</c> without a prefix means <c>w4a4-g32</c>. The
/// others mean <c>w4a16-g32</c>.</item>
/// </list>
/// Scales of weights are stored as binary16, unless they are powers of two. <c>w16a16-kv8</c> quantizes only the cache.
/// </remarks>
public static partial class RecipePresets
{
    /// <summary>The layer that presets keep in float.</summary>
    internal const string Head = "lm_head";

    /// <summary>The option for training a pretrained encoder.</summary>
    internal const string Encoder = "encoder";

    private const string FloatModel = "w16a16";

    private const string Grammar =
        "A preset is w{2..8 or t for ternary}a{16, 8 or 4}, then any of -g{group size}, -sym (symmetric groups), -stretched (a grid without zero), -po2 "
            + "(scales that are powers of two), -mse (weight ranges), -rotated, "
        + "the algorithms -smoothquant or -awq, -importance, -hqq, -gptq or -gptaq, -adaround or -signround, -debias, "
        + "-kv{2..8} (key-value cache per token) or -kv{2..8}c (its keys per channel), "
        + "-static (per-tensor activations) with an observer right after it (-percentile, -mse, -entropy, -average), "
        + "-encoder (training settings for a pretrained encoder); or w16a16-kv{2..8}, which quantizes only the cache. "
        + "At the end -hybrid-weights-ptq-activations-qat, -hybrid-attention-qat or -hybrid-mlp-qat divides the model between the methods; each is also a "
            + "preset without a prefix.";

    private static readonly Dictionary<string, ObserverKind> Observers = new(StringComparer.Ordinal)
    {
        ["percentile"] = ObserverKind.Percentile,
        ["mse"] = ObserverKind.Mse,
        ["entropy"] = ObserverKind.Entropy,
        ["average"] = ObserverKind.MovingAverage,
    };

    /// <summary>Commonly used presets. <see cref="Parse"/> accepts every name of the grammar.</summary>
    public static IReadOnlyList<string> Names { get; } =
    [
        "w8a16-g32", "w4a16-g32", "w4a16-g32-mse", "w4a16-g128", "w3a16-g32", "w2a16-g32", "wta16-g32", "w8a8", "w8a8-static", "w8a8-static-percentile",
        "w4a8-g32",
        "w4a16-g32-gptq", "w3a16-g32-gptaq", "w4a16-g128-awq", "w4a16-g32-hqq", "w2a16-g32-signround", "w8a8-smoothquant", "w4a4-g32-rotated-gptq",
        .. HybridPresets.Names,
    ];

    /// <summary>The recipe for a preset's name.</summary>
    /// <exception cref="NibbleException">The name is not a preset.</exception>
    public static Recipe Parse(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        if (HybridPresets.Parse(name) is { } hybrid)
        {
            return hybrid;
        }

        var options = new Queue<string>(name.Split('-'));
        var bits = Bits.Match(options.Dequeue());
        if (!bits.Success)
        {
            throw Unknown(name);
        }

        int? group = null;
        var (symmetric, mse, stretched, powerOfTwo, encoder) = (false, false, false, false, false);
        ObserverKind? observer = null;
        var rotation = Rotation.None;
        KeyValueCacheRule? cache = null;
        var algorithms = new List<string>();
        while (options.TryDequeue(out var option))
        {
            switch (option)
            {
                case "sym" when !symmetric:
                    symmetric = true;
                    break;
                case "stretched" when !stretched:
                    stretched = true;
                    break;
                case "po2" when !powerOfTwo:
                    powerOfTwo = true;
                    break;
                case "mse" when !mse:
                    mse = true;
                    break;
                case Encoder when !encoder:
                    encoder = true;
                    break;
                case "rotated" when rotation == Rotation.None:
                    rotation = Rotation.Hadamard;
                    break;
                case "static" when observer is null:
                    observer = options.TryPeek(out var next) && Observers.TryGetValue(next, out var kind) ? kind : ObserverKind.MinMax;
                    if (observer != ObserverKind.MinMax)
                    {
                        options.Dequeue();
                    }

                    break;
                case ['g', ..] when group is null && int.TryParse(option.AsSpan(1), NumberStyles.None, CultureInfo.InvariantCulture, out var size) && size > 0:
                    group = size;
                    break;
                case ['k', 'v', >= '2' and <= '8', .. "" or "c"] when cache is null:
                    cache = Cache(option[2] - '0', option.EndsWith('c') ? Granularity.Channel : Granularity.Token);
                    break;
                case var algorithm when WeightAlgorithms.KnownNames.Contains(algorithm):
                    algorithms.Add(algorithm);
                    break;
                default:
                    throw Unknown(name, $" The option '{option}' is unknown, repeated or misplaced.");
            }
        }

        if (name.StartsWith(FloatModel, StringComparison.Ordinal))
        {
            return cache is not null && name.LastIndexOf('-') == FloatModel.Length
                ? new Recipe(name, [new RecipeRule("*", Weights: null)]) { KeyValueCache = cache }
                : throw Unknown(name, $" {FloatModel} leaves weights and activations in float, so a -kv option such as -kv8 must follow, and nothing else.");
        }

        var weightBits = bits.Groups["weights"].Value;
        var ternary = weightBits == "t";
        if (symmetric && (group is null || ternary))
        {
            throw Unknown(name, " -sym applies only to weights in groups that are not ternary; other weights are always symmetric.");
        }

        if (stretched && (symmetric || ternary))
        {
            throw Unknown(name, " Stretched weights are always symmetric and cannot be ternary.");
        }

        var granularity = group is { } length ? Granularity.Group(length) : Granularity.Channel;
        var weights = ternary ? QuantizationScheme.CreateTernary(granularity)
            : stretched ? QuantizationScheme.CreateStretched(int.Parse(weightBits, CultureInfo.InvariantCulture), granularity)
            : new QuantizationScheme(int.Parse(weightBits, CultureInfo.InvariantCulture), symmetric || group is null, granularity);
        var activations = Activations(name, int.Parse(bits.Groups["activations"].Value, CultureInfo.InvariantCulture), observer);
        if (powerOfTwo && activations is { Scheme.Granularity: PerTensor })
        {
            activations = activations with { Scheme = activations.Scheme with { ScalePrecision = ScalePrecision.PowerOfTwo } };
        }

        var stack = Algorithms(name, algorithms);
        if (stretched && stack != WeightAlgorithms.RoundToNearest)
        {
            throw Unknown(name, " Stretched weights are rounded to nearest or trained; the other algorithms need a grid with zero.");
        }

        var range = stack.DefaultRange ?? (mse ? WeightRange.Mse : WeightRange.MinMax);
        return new Recipe(name,
        [
            new RecipeRule(Head, Weights: null),
            new RecipeRule("*", weights with { ScalePrecision = powerOfTwo ? ScalePrecision.PowerOfTwo : ScalePrecision.Float16 }, activations,
                range) { Algorithms = stack },
        ])
        {
            Rotation = rotation,
            KeyValueCache = cache,
            Qat = encoder ? QatSettings.ForEncoder(weights.Bits) : QatSettings.ForWidth(weights.Bits),
        };
    }

    private static KeyValueCacheRule Cache(int bits, Granularity keys) =>
        new(new QuantizationScheme(bits, symmetric: false, keys), new QuantizationScheme(bits, symmetric: false, Granularity.Token));

    private static WeightAlgorithms Algorithms(string name, List<string> names)
    {
        try
        {
            return WeightAlgorithms.Parse(names);
        }
        catch (NibbleException exception)
        {
            throw Unknown(name, $" {exception.Message}.");
        }
    }

    private static ActivationRule? Activations(string name, int bits, ObserverKind? observer)
    {
        if (bits == 16)
        {
            return observer is null ? null : throw Unknown(name, " 16-bit activations stay in float, so -static does not apply.");
        }

        return observer is { } kind
            ? new ActivationRule(new QuantizationScheme(bits, symmetric: false, Granularity.Tensor), kind)
            : new ActivationRule(new QuantizationScheme(bits, symmetric: true, Granularity.Token));
    }

    private static NibbleException Unknown(string name, string fault = "") =>
        new($"There is no preset '{name}'.{fault}{Suggestion.For(name, Names)} {Grammar} Presets in common use: {string.Join(", ", Names)}.");

    [GeneratedRegex("^(w(?<weights>[2-8t])a(?<activations>16|8|4)|w16a16)\\z", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture)]
    private static partial Regex Bits { get; }
}
