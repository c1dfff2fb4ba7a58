namespace Nibble.Recipes;

/// <summary>What is multiplied into a layer's input channels, and out of what produces them, before weights are rounded.</summary>
public enum ChannelScaling
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>Part of the difficulty of quantizing activations moves into the weights (Xiao et al. 2022); the share is searched per layer.</summary>
    SmoothQuant,

    /// <summary>Channels with large activations get finer weights (Lin et al. 2023); the exponent is searched per layer.</summary>
    Awq,
}

/// <summary>How codes are chosen.</summary>
public enum WeightRounding
{
    /// <summary>The nearest code.</summary>
    RoundToNearest,

    /// <summary>The nearest code, with ranges whose error is weighted by how large each input channel is.</summary>
    ImportanceWeighted,

    /// <summary>Half-quadratic quantization (Badri and Shaji 2023): robust ranges without data.</summary>
    Hqq,

    /// <summary>Each column's rounding error is made up for in the columns after it (Frantar et al. 2022).</summary>
    Gptq,

    /// <summary>GPTQ towards what the float model computes on its own inputs, not on those that quantized layers have changed (Li et al. 2025).</summary>
    Gptaq,
}

/// <summary>Whether the rounding of a block is learned from what the block should compute.</summary>
public enum RoundingLearning
{
    /// <summary>It is not.</summary>
    None,

    /// <summary>Up or down, by a relaxation that hardens (Nagel et al. 2020), and scales.</summary>
    AdaRound,

    /// <summary>Offsets before rounding, through a straight-through gradient (Cheng et al. 2023), and scales.</summary>
    SignRound,
}

/// <summary>What post-training quantization does to a layer's weights, in this order: scale channels, choose codes, learn their rounding, correct the
/// bias.</summary>
/// <param name="Scaling">What is folded into the preceding operator first.</param>
/// <param name="Rounding">How codes are chosen.</param>
/// <param name="Learning">Whether rounding is then learned, starting from those codes.</param>
/// <param name="BiasCorrection">Whether the mean error of the layer's output is finally taken out of its bias.</param>
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

    /// <summary>Round to nearest alone.</summary>
    public static WeightAlgorithms RoundToNearest { get; } = new();

    /// <summary>The names of the algorithms, in the order in which a stack may hold them.</summary>
    public static IReadOnlyList<string> KnownNames { get; } = [.. All.Select(item => item.Name)];

    /// <summary>The algorithms by name, in order.</summary>
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

    /// <summary>Whether the float model has to compute beside the quantized one.</summary>
    public bool NeedsFloat => Rounding == WeightRounding.Gptaq || Learning != RoundingLearning.None || BiasCorrection;

    /// <summary>The weight range that goes with these algorithms: searched for GPTQ and GPTAQ, of the least squared error for AWQ and learned rounding; null
    /// where any does.</summary>
    public WeightRange? UsualRange => Rounding is WeightRounding.Gptq or WeightRounding.Gptaq ? WeightRange.Search
        : Scaling == ChannelScaling.Awq || Learning != RoundingLearning.None ? WeightRange.Mse
        : null;

    /// <summary>Reads a list of names.</summary>
    /// <exception cref="NibbleException">A name is unknown, or stands where it makes no sense.</exception>
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
                    $"the algorithm '{name}' stands after one that excludes it or comes later; a list has at most one of smoothquant and awq, then one of rtn, "
                        + $"importance, hqq, gptq and gptaq, then one of adaround and signround, then {Debias}");
            }

            stack = found.Add(stack);
            last = found.Place;
        }

        return stack;
    }
}
