using Nibble.Algorithms.RoundToNearest;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Qat;

/// <summary>Fake-quantizes a weight in training and converts it afterwards to the codes it was trained with.</summary>
internal abstract class WeightFakeQuantizer(RecipeRule rule, int rows, int columns) : ITensorQuantizer
{
    protected RecipeRule Rule => rule;

    protected QuantizationScheme Scheme => rule.Weights!;

    protected int Rows => rows;

    protected int Columns => columns;

    /// <summary>What is learned beside the weight.</summary>
    public virtual IEnumerable<Parameter> Parameters => [];

    public abstract Tensor Apply(Tensor tensor);

    public abstract QuantizedTensor Convert(Tensor weight);

    public static WeightFakeQuantizer Create(GradientEstimator estimator, RecipeRule rule, Tensor weight) => estimator switch
    {
        GradientEstimator.StraightThrough => new MinMaxWeightQuantizer(rule, (int)weight.shape[0], (int)weight.shape[1]),
        GradientEstimator.LearnedScale => new LearnedWeightQuantizer(rule, weight),
        _ => throw new ArgumentOutOfRangeException(nameof(estimator), estimator, null),
    };
}

/// <summary>Ranges follow the weights at every step; gradients pass straight through.</summary>
internal sealed class MinMaxWeightQuantizer(RecipeRule rule, int rows, int columns) : WeightFakeQuantizer(rule, rows, columns)
{
    public override Tensor Apply(Tensor tensor) => FusedFakeQuantization.MinMax(tensor, Scheme);

    public override QuantizedTensor Convert(Tensor weight) => RoundToNearest.Quantize(Conversion.ValuesOf(weight), Rows, Columns, Scheme);
}

/// <summary>The scale of each group is learned with the weights: LSQ (Esser et al. 2020).</summary>
/// <remarks>
/// The scale starts at the range with the least squared error and is learned as <c>start * exp(p)</c>, which keeps it positive and
/// makes a step of the optimizer a relative change, whatever the size of the scale. Zero points stay where they start.
/// </remarks>
internal sealed class LearnedWeightQuantizer : WeightFakeQuantizer
{
    private readonly Tensor start;
    private readonly Tensor zeroPoint;
    private readonly Parameter logarithm;

    public LearnedWeightQuantizer(RecipeRule rule, Tensor weight)
        : base(rule, (int)weight.shape[0], (int)weight.shape[1])
    {
        using var scope = NewDisposeScope();
        var initial = RoundToNearest.Quantize(Conversion.ValuesOf(weight), Rows, Columns, Scheme, WeightRange.Mse);
        start = tensor(initial.Scales).unsqueeze(1).DetachFromDisposeScope();
        zeroPoint = (Scheme.Symmetric ? zeros_like(start) : tensor(Array.ConvertAll(initial.ZeroPoints, point => (float)point)).unsqueeze(1)).DetachFromDisposeScope();
        logarithm = (Parameter)TorchSharp.torch.nn.Parameter(zeros_like(start)).DetachFromDisposeScope();
    }

    public override IEnumerable<Parameter> Parameters => [logarithm];

    public override Tensor Apply(Tensor tensor)
    {
        using var scope = NewDisposeScope();
        var scale = start * logarithm.exp();
        var stored = FakeQuantization.StraightThrough(scale, FakeQuantization.RoundScale(scale, Scheme.ScalePrecision));
        return FusedFakeQuantization.Learned(tensor, stored, zeroPoint, Scheme.Codes, Scheme.Granularity).MoveToOuterDisposeScope();
    }

    public override QuantizedTensor Convert(Tensor weight)
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        var scales = Conversion.ValuesOf(FakeQuantization.RoundScale(start * logarithm.exp(), Scheme.ScalePrecision));
        sbyte[] zeroPoints = Scheme.Symmetric ? [] : Array.ConvertAll(Conversion.ValuesOf(zeroPoint), point => (sbyte)point);
        return RoundToNearest.QuantizeWith(Conversion.ValuesOf(weight), Rows, Columns, Scheme, scales, zeroPoints);
    }
}
