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

    /// <summary>The scale and zero point with the least squared error, searched separately.</summary>
    Search,
}

/// <summary>The observer that sets the range of a statically quantized activation.</summary>
public enum ObserverKind
{
    /// <summary>The lowest and highest value seen.</summary>
    MinMax,

    /// <summary>Exponential moving average of each batch's lowest and highest value.</summary>
    MovingAverage,

    /// <summary>The range that excludes a small share of the values.</summary>
    Percentile,

    /// <summary>The range with the least squared error, computed from a histogram.</summary>
    Mse,

    /// <summary>The range with the least Kullback-Leibler divergence, computed from a histogram.</summary>
    Entropy,
}

/// <summary>Whether the model is rotated before it is quantized.</summary>
public enum Rotation
{
    /// <summary>No rotation.</summary>
    None,

    /// <summary>Hadamard matrices rotate the residual stream, the values and the down projections' inputs, which spreads outliers (QuaRot, Ashkboos et al.
    /// 2024).</summary>
    Hadamard,
}

/// <summary>How codes are found for a model, or for one side of a layer (its weights or its inputs).</summary>
public enum Method
{
    /// <summary>Post-training quantization: the rule's algorithms choose the weights' codes, calibration sets the inputs' range, and both stay fixed.</summary>
    Ptq,

    /// <summary>Quantization-aware training: trains the weights and their grid, or the fixed range of the inputs.</summary>
    Qat,

    /// <summary>Both methods: rules name one or the other for the weights or inputs of some layers. Applies to recipes and runs, never to one side of a
    /// layer.</summary>
    Hybrid,
}

/// <summary>How the inputs of the matched layers are quantized.</summary>
/// <param name="Scheme">Per token (dynamic) or per tensor (static).</param>
/// <param name="Observer">Sets the static range. Unused for dynamic quantization.</param>
public sealed record ActivationRule(QuantizationScheme Scheme, ObserverKind Observer = ObserverKind.MinMax);

/// <summary>What to do with the layers whose names match a pattern.</summary>
/// <param name="Pattern">A layer's name, with <c>*</c> for any text and <c>?</c> for any character, such as <c>model.layers.0.*</c>.</param>
/// <param name="Weights">The weights' scheme; null keeps the layer in float.</param>
/// <param name="Activations">How inputs are quantized; null keeps them in float.</param>
/// <param name="Range">How weight ranges are chosen.</param>
public sealed record RecipeRule(string Pattern, QuantizationScheme? Weights, ActivationRule? Activations = null, WeightRange Range = WeightRange.MinMax)
{
    /// <summary>The post-training algorithms for the weights.</summary>
    /// <exception cref="NibbleException">The weights are stretched, and the algorithms are not round to nearest.</exception>
    public WeightAlgorithms Algorithms
    {
        get;
        init => field = value == WeightAlgorithms.RoundToNearest || Weights is not { Format: CodeFormat.Stretched }
            ? value
            : throw new NibbleException(
                $"the rule for {Pattern} has {Weights} weights and the algorithms {string.Join(", ", value.Names)}, which need a grid with zero; "
                + $"round stretched weights to nearest, or train them");
    } = WeightAlgorithms.RoundToNearest;

    /// <summary>The method for the weights; null takes the method of the run that uses the recipe.</summary>
    /// <exception cref="NibbleException">The method is hybrid.</exception>
    public Method? WeightMethod { get; init => field = OfOneSide(value); }

    /// <summary>The method for the inputs' range; null takes the method of the run. Per-token inputs have no range to train, so it does not apply to
    /// them.</summary>
    /// <exception cref="NibbleException">The method is hybrid.</exception>
    public Method? ActivationMethod { get; init => field = OfOneSide(value); }

    /// <summary>Whether a layer's name matches the pattern.</summary>
    public bool Matches(string layer) => FileSystemName.MatchesSimpleExpression(Pattern, layer, ignoreCase: false);

    private static Method? OfOneSide(Method? method) => method is not Recipes.Method.Hybrid ? method
        : throw new NibbleException("the weights and the inputs of a layer each have one method, ptq or qat; a hybrid recipe uses both");
}

/// <summary>What to do with each layer: the same record in code, in YAML or JSON, and inside an artifact.</summary>
/// <param name="Name">The recipe's name.</param>
/// <param name="Rules">The rules. The first rule whose pattern matches a layer decides. A layer that no rule matches stays in float.</param>
public sealed record Recipe(string Name, IReadOnlyList<RecipeRule> Rules)
{
    /// <summary>How quantization-aware training runs.</summary>
    public QatSettings Qat { get; init; } = new();

    /// <summary>How post-training quantization runs.</summary>
    public PtqSettings Ptq { get; init; } = new();

    /// <summary>Whether the model is rotated first. Post-training quantization only.</summary>
    public Rotation Rotation { get; init; }

    /// <summary>How attention's keys and values are quantized; null keeps them in float.</summary>
    public KeyValueCacheRule? KeyValueCache { get; init; }

    /// <summary>Whether a training run leaves one side of a layer to post-training quantization.</summary>
    public bool IsHybrid =>
        Rules.Any(rule => rule is { Weights: not null, WeightMethod: Method.Ptq } or
        {
            Weights: not null, Activations: not null,
            ActivationMethod: Method.Ptq
        });

    /// <summary>Whether post-training quantization by this recipe needs calibration data, for an algorithm or for a fixed range.</summary>
    public bool NeedsCalibration =>
        KeyValueCache is { HasStaticKeys: true }
        || Rules.Any(rule => rule.Weights is not null && (rule.Algorithms.NeedsData || rule.Activations is { Scheme.Granularity: Numerics.PerTensor }));

    /// <summary>Rejects a recipe that sets training as the method for one side of a layer.</summary>
    /// <exception cref="NibbleException">A rule's weights or activations have the method qat.</exception>
    public void RequirePtq()
    {
        foreach (var rule in Rules.Where(rule => rule.Weights is not null))
        {
            var trained = rule.WeightMethod == Method.Qat ? "weights" : rule is { Activations: not null, ActivationMethod: Method.Qat } ? "activations" : null;
            if (trained is not null)
            {
                throw new NibbleException(
                    $"the rule for {rule.Pattern} of the recipe '{Name}' sets the method qat for {trained}, which post-training quantization cannot do; use "
                    + $"nibble qat, or remove the method from the rule");
            }
        }
    }

    /// <summary>The rule that applies to a layer; null if the layer stays in float.</summary>
    public RecipeRule? RuleFor(string layer) => Rules.FirstOrDefault(rule => rule.Matches(layer)) is { Weights: not null } rule ? rule : null;
}
