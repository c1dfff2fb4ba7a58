using System.IO.Enumeration;
using Nibble.Numerics;

namespace Nibble.Recipes;

/// <summary>How the range of a weight group is chosen.</summary>
public enum WeightRange
{
    /// <summary>From the lowest to the highest value.</summary>
    MinMax,

    /// <summary>The shrunk range with the least squared error.</summary>
    Mse,

    /// <summary>The scale and zero point with the least squared error, searched apart from each other.</summary>
    Search,
}

/// <summary>Which observer yields the range of a statically quantized activation.</summary>
public enum ObserverKind
{
    /// <summary>Lowest and highest value seen.</summary>
    MinMax,

    /// <summary>Exponential moving average of each batch's lowest and highest value.</summary>
    MovingAverage,

    /// <summary>The range that leaves a small share of the values out.</summary>
    Percentile,

    /// <summary>The range with the least squared error over a histogram.</summary>
    Mse,

    /// <summary>The range with the least Kullback-Leibler divergence over a histogram.</summary>
    Entropy,
}

/// <summary>Whether the model is rotated before it is quantized.</summary>
public enum Rotation
{
    /// <summary>It is not.</summary>
    None,

    /// <summary>Residual stream, values and the down projections' inputs are turned by Hadamard matrices, which spreads outliers (QuaRot, Ashkboos et al. 2024).</summary>
    Hadamard,
}

/// <summary>How the inputs of the matched layers are quantized.</summary>
/// <param name="Scheme">Per token (dynamic) or per tensor (static).</param>
/// <param name="Observer">Yields the static range; unused when dynamic.</param>
public sealed record ActivationRule(QuantizationScheme Scheme, ObserverKind Observer = ObserverKind.MinMax);

/// <summary>What to do with the layers whose names match a pattern.</summary>
/// <param name="Pattern">A layer's name with <c>*</c> for any text and <c>?</c> for any character, such as <c>model.layers.0.*</c>.</param>
/// <param name="Weights">The weights' scheme; null keeps the layer in float.</param>
/// <param name="Activations">How inputs are quantized; null keeps them float.</param>
/// <param name="Range">How weight ranges are chosen.</param>
public sealed record RecipeRule(string Pattern, QuantizationScheme? Weights, ActivationRule? Activations = null, WeightRange Range = WeightRange.MinMax)
{
    /// <summary>What post-training quantization does to the weights.</summary>
    /// <exception cref="NibbleException">The weights are stretched, and the algorithms are not round to nearest.</exception>
    public WeightAlgorithms Algorithms
    {
        get;
        init => field = value == WeightAlgorithms.RoundToNearest || Weights is not { Stretched: true }
            ? value
            : throw new NibbleException($"the rule for {Pattern} has {Weights} weights and the algorithms {string.Join(", ", value.Names)}, which need a grid that holds zero; stretched weights are rounded to nearest or trained");
    } = WeightAlgorithms.RoundToNearest;

    /// <summary>Whether a layer's name matches the pattern.</summary>
    public bool Matches(string layer) => FileSystemName.MatchesSimpleExpression(Pattern, layer, ignoreCase: false);
}

/// <summary>What to do with each layer: the same record in code, in YAML or JSON, and inside an artifact.</summary>
/// <param name="Name">What the recipe is called.</param>
/// <param name="Rules">The rules; the first whose pattern matches a layer decides, and a layer that none matches stays float.</param>
public sealed record Recipe(string Name, IReadOnlyList<RecipeRule> Rules)
{
    /// <summary>How quantization-aware training runs.</summary>
    public QatSettings Qat { get; init; } = new();

    /// <summary>How post-training quantization runs.</summary>
    public PtqSettings Ptq { get; init; } = new();

    /// <summary>Whether the model is rotated first (post-training quantization only).</summary>
    public Rotation Rotation { get; init; }

    /// <summary>How attention's keys and values are quantized; null keeps them float.</summary>
    public KeyValueCacheRule? KeyValueCache { get; init; }

    /// <summary>The rule that decides about a layer; null when it stays float.</summary>
    public RecipeRule? RuleFor(string layer) => Rules.FirstOrDefault(rule => rule.Matches(layer)) is { Weights: not null } rule ? rule : null;
}
