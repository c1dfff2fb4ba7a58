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

    /// <summary>Residual stream, values and the down projections' inputs are turned by Hadamard matrices, which spreads outliers (QuaRot, Ashkboos et al.
    /// 2024).</summary>
    Hadamard,
}

/// <summary>How a model, or one side of a layer, its weights or its inputs, comes to its codes.</summary>
public enum Method
{
    /// <summary>Post-training: weights get their codes from the rule's algorithms and inputs their range from calibration, and both stay.</summary>
    Ptq,

    /// <summary>Quantization-aware training: weights and their grid, or the fixed range of the inputs, are trained.</summary>
    Qat,

    /// <summary>Both: rules name one or the other for the weights or the inputs of some layers. Of recipes and runs only, never of one side of a
    /// layer.</summary>
    Hybrid,
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
        init => field = value == WeightAlgorithms.RoundToNearest || Weights is not { Format: CodeFormat.Stretched }
            ? value
            : throw new NibbleException(
                $"the rule for {Pattern} has {Weights} weights and the algorithms {string.Join(", ", value.Names)}, which need a grid that holds zero; "
                + $"stretched weights are rounded to nearest or trained");
    } = WeightAlgorithms.RoundToNearest;

    /// <summary>How the weights come to their codes; null is the method of the run that the recipe is used in.</summary>
    /// <exception cref="NibbleException">It is a hybrid.</exception>
    public Method? WeightMethod { get; init => field = OfOneSide(value); }

    /// <summary>How the inputs come to their range; null is the method of the run. Inputs per token have no range to train, whatever it says.</summary>
    /// <exception cref="NibbleException">It is a hybrid.</exception>
    public Method? ActivationMethod { get; init => field = OfOneSide(value); }

    /// <summary>Whether a layer's name matches the pattern.</summary>
    public bool Matches(string layer) => FileSystemName.MatchesSimpleExpression(Pattern, layer, ignoreCase: false);

    private static Method? OfOneSide(Method? method) => method is not Recipes.Method.Hybrid ? method
        : throw new NibbleException("the weights or the inputs of a layer are quantized by ptq or by qat; a hybrid names both in one recipe");
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

    /// <summary>Whether a run of training leaves a side of a layer to post-training quantization.</summary>
    public bool IsHybrid =>
        Rules.Any(rule => rule is { Weights: not null, WeightMethod: Method.Ptq } or
        {
            Weights: not null, Activations: not null,
            ActivationMethod: Method.Ptq
        });

    /// <summary>Whether post-training quantization by this recipe looks at text: an algorithm or a fixed range needs to see activations.</summary>
    public bool NeedsCalibration =>
        KeyValueCache is { HasStaticKeys: true }
        || Rules.Any(rule => rule.Weights is not null && (rule.Algorithms.NeedsData || rule.Activations is { Scheme.Granularity: Numerics.PerTensor }));

    /// <summary>Refuses a recipe that names training for a side of a layer.</summary>
    /// <exception cref="NibbleException">A rule's weights or activations have the method qat.</exception>
    public void RequirePtq()
    {
        foreach (var rule in Rules.Where(rule => rule.Weights is not null))
        {
            var trained = rule.WeightMethod == Method.Qat ? "weights" : rule is { Activations: not null, ActivationMethod: Method.Qat } ? "activations" : null;
            if (trained is not null)
            {
                throw new NibbleException(
                    $"the rule for {rule.Pattern} of the recipe '{Name}' has {trained} of the method qat, which post-training quantization does not do; use "
                    + $"nibble qat, or take the method out of the rule");
            }
        }
    }

    /// <summary>The rule that decides about a layer; null when it stays float.</summary>
    public RecipeRule? RuleFor(string layer) => Rules.FirstOrDefault(rule => rule.Matches(layer)) is { Weights: not null } rule ? rule : null;
}
