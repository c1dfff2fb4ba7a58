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

/// <summary>How the gradient passes a fake quantizer in training.</summary>
public enum GradientEstimator
{
    /// <summary>Straight-through with ranges recomputed from the weights at every step (Bengio et al. 2013; Jacob et al. 2018).</summary>
    StraightThrough,

    /// <summary>Straight-through with the scale itself learned (LSQ, Esser et al. 2020).</summary>
    LearnedScale,
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
    public WeightAlgorithms Algorithms { get; init; } = WeightAlgorithms.RoundToNearest;

    /// <summary>Whether a layer's name matches the pattern.</summary>
    public bool Matches(string layer) => FileSystemName.MatchesSimpleExpression(Pattern, layer, ignoreCase: false);
}

/// <summary>How quantization-aware training runs.</summary>
public sealed record QatSettings
{
    /// <summary>How the gradient passes the fake quantizers.</summary>
    public GradientEstimator Estimator { get; init; } = GradientEstimator.LearnedScale;

    /// <summary>Optimizer steps, at least 1.</summary>
    public int Steps { get; init; } = 300;

    /// <summary>Sequences in a step, at least 1.</summary>
    public int BatchSize { get; init; } = 8;

    /// <summary>Tokens in a sequence, at least 2.</summary>
    public int SequenceLength { get; init; } = 256;

    /// <summary>AdamW's peak learning rate of the weights.</summary>
    public double LearningRate { get; init; } = 1e-3;

    /// <summary>AdamW's peak learning rate of learned scales, relative to each scale's starting value.</summary>
    public double ScaleLearningRate { get; init; } = 1e-3;

    /// <summary>AdamW's decoupled weight decay of the matrices.</summary>
    public double WeightDecay { get; init; }

    /// <summary>Share of the steps over which the learning rate rises from 0 to its peak, 0 to 1; it then falls along a cosine.</summary>
    public double WarmUp { get; init; } = 0.05;

    /// <summary>The learning rate at the end, as a share of its peak, 0 to 1.</summary>
    public double FinalLearningRate { get; init; } = 0.01;

    /// <summary>The greatest norm of the gradient; longer ones are shortened to it.</summary>
    public double GradientClip { get; init; } = 1;

    /// <summary>Refuses settings that no training could follow.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A setting is outside the range its documentation gives.</exception>
    public void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(Steps, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(BatchSize, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(SequenceLength, 2);
        RequireWithin(LearningRate, double.MaxValue, nameof(LearningRate));
        RequireWithin(ScaleLearningRate, double.MaxValue, nameof(ScaleLearningRate));
        RequireWithin(WeightDecay, double.MaxValue, nameof(WeightDecay));
        RequireWithin(WarmUp, 1, nameof(WarmUp));
        RequireWithin(FinalLearningRate, 1, nameof(FinalLearningRate));
        RequireWithin(GradientClip, double.MaxValue, nameof(GradientClip));
    }

    private static void RequireWithin(double value, double max, string name)
    {
        if (!(value >= 0 && value <= max))
        {
            throw new ArgumentOutOfRangeException(name, value, $"{name} is {value}, expected 0 to {max}.");
        }
    }
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
