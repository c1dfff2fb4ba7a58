namespace Nibble.Recipes;

/// <summary>The factors that are folded into a layer's input channels, and out of the operator before it, before weights are rounded.</summary>
public enum ChannelScaling
{
    /// <summary>No scaling.</summary>
    None,

    /// <summary>Moves part of the difficulty of quantizing activations into the weights (Xiao et al. 2022). The share is searched per layer.</summary>
    SmoothQuant,

    /// <summary>Gives channels with large activations finer weights (Lin et al. 2023). The exponent is searched per layer.</summary>
    Awq,
}

/// <summary>How codes are chosen.</summary>
public enum WeightRounding
{
    /// <summary>The nearest code.</summary>
    RoundToNearest,

    /// <summary>The nearest code, with ranges whose error is weighted by the magnitude of each input channel.</summary>
    ImportanceWeighted,

    /// <summary>Half-quadratic quantization (Badri and Shaji 2023): robust ranges without data.</summary>
    Hqq,

    /// <summary>Later columns compensate for each column's rounding error (Frantar et al. 2022).</summary>
    Gptq,

    /// <summary>GPTQ towards the float model's outputs on its own inputs, rather than on inputs from quantized layers (Li et al. 2025).</summary>
    Gptaq,
}

/// <summary>Whether a block's rounding is learned from the block's float output.</summary>
public enum RoundingLearning
{
    /// <summary>Rounding is not learned.</summary>
    None,

    /// <summary>Learns to round up or down through a relaxation that hardens (Nagel et al. 2020), and learns scales.</summary>
    AdaRound,

    /// <summary>Learns offsets before rounding through a straight-through gradient (Cheng et al. 2023), and learns scales.</summary>
    SignRound,
}

/// <summary>The steps of post-training quantization for a layer's weights, in this order: scale channels, choose codes, learn their rounding, correct the
/// bias.</summary>
/// <param name="Scaling">What is first folded into the preceding operator.</param>
/// <param name="Rounding">How codes are chosen.</param>
/// <param name="Learning">How rounding is then learned, starting from those codes.</param>
/// <param name="BiasCorrection">Whether the mean error of the layer's output is finally removed from its bias.</param>
public sealed record WeightAlgorithms(
    ChannelScaling Scaling = ChannelScaling.None,
    WeightRounding Rounding = WeightRounding.RoundToNearest,
    RoundingLearning Learning = RoundingLearning.None,
    bool BiasCorrection = false)
{
    private const string Debias = "debias";

    private static readonly (string Name, Func<WeightAlgorithms, WeightAlgorithms> Add, int Place)[] All =
    [
        ("smoothquant", stack => stack with { Scaling = ChannelScaling.SmoothQuant }, 0),
        ("awq", stack => stack with { Scaling = ChannelScaling.Awq }, 0),
        ("rtn", stack => stack with { Rounding = WeightRounding.RoundToNearest }, 1),
        ("importance", stack => stack with { Rounding = WeightRounding.ImportanceWeighted }, 1),
        ("hqq", stack => stack with { Rounding = WeightRounding.Hqq }, 1),
        ("gptq", stack => stack with { Rounding = WeightRounding.Gptq }, 1),
        ("gptaq", stack => stack with { Rounding = WeightRounding.Gptaq }, 1),
        ("adaround", stack => stack with { Learning = RoundingLearning.AdaRound }, 2),
        ("signround", stack => stack with { Learning = RoundingLearning.SignRound }, 2),
        (Debias, stack => stack with { BiasCorrection = true }, 3),
    ];

    /// <summary>Only round to nearest.</summary>
    public static WeightAlgorithms RoundToNearest { get; } = new();

    /// <summary>The names of the algorithms, in the order in which they can be combined.</summary>
    public static IReadOnlyList<string> KnownNames { get; } = [.. All.Select(item => item.Name)];

    /// <summary>The names of the algorithms, in order.</summary>
    public IReadOnlyList<string> Names =>
    [
        .. Scaling switch { ChannelScaling.SmoothQuant => ["smoothquant"], ChannelScaling.Awq => ["awq"], _ => Array.Empty<string>() },
        Rounding switch { WeightRounding.ImportanceWeighted => "importance", WeightRounding.Hqq => "hqq", WeightRounding.Gptq => "gptq",
            WeightRounding.Gptaq => "gptaq", _ => "rtn" },
        .. Learning switch { RoundingLearning.AdaRound => ["adaround"], RoundingLearning.SignRound => ["signround"], _ => Array.Empty<string>() },
        .. BiasCorrection ? [Debias] : Array.Empty<string>(),
    ];

    /// <summary>Whether calibration text is needed.</summary>
    public bool NeedsData =>
        this is not
        {
            Scaling: ChannelScaling.None, Rounding: WeightRounding.RoundToNearest or WeightRounding.Hqq, Learning: RoundingLearning.None,
            BiasCorrection: false
        };

    /// <summary>Whether the float model has to run as well as the quantized one.</summary>
    public bool NeedsFloat => Rounding == WeightRounding.Gptaq || Learning != RoundingLearning.None || BiasCorrection;

    /// <summary>The default weight range of these algorithms: searched for GPTQ and GPTAQ, least squared error for AWQ and learned rounding; null if any
    /// range suits.</summary>
    public WeightRange? DefaultRange => Rounding is WeightRounding.Gptq or WeightRounding.Gptaq ? WeightRange.Search
        : Scaling == ChannelScaling.Awq || Learning != RoundingLearning.None ? WeightRange.Mse
        : null;

    /// <summary>Reads a list of names.</summary>
    /// <exception cref="NibbleException">A name is unknown or out of order.</exception>
    public static WeightAlgorithms Parse(IEnumerable<string> names)
    {
        ArgumentNullException.ThrowIfNull(names);
        var stack = RoundToNearest;
        var last = -1;
        foreach (var name in names)
        {
            var found = Array.Find(All, item => item.Name == name);
            if (found.Name is null)
            {
                throw new NibbleException($"there is no algorithm '{name}'.{Suggestion.For(name, KnownNames)} Known are {string.Join(", ", KnownNames)}.");
            }

            if (found.Place <= last)
            {
                throw new NibbleException(
                    $"the algorithm '{name}' is out of order or excluded by an earlier one; a list has at most one of smoothquant and awq, then one of rtn, "
                        + $"importance, hqq, gptq and gptaq, then one of adaround and signround, then {Debias}");
            }

            stack = found.Add(stack);
            last = found.Place;
        }

        return stack;
    }
}
