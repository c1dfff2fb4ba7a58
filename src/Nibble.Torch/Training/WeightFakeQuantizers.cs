using Nibble.Algorithms;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Training;

/// <summary>Fake-quantizes a weight in training, and afterwards converts it to the codes it was trained with.</summary>
internal abstract class WeightFakeQuantizer(QuantizationScheme scheme, int rows, int columns) : ITensorQuantizer, ITrainingState
{
    /// <summary>The scheme in effect: the recipe's, or a wider one during bit-width annealing.</summary>
    protected QuantizationScheme Scheme { get; private set; } = scheme;

    protected WeightGroups Groups { get; } = new(rows, columns, scheme.Granularity);

    protected int Rows => rows;

    protected int Columns => columns;

    /// <summary>The learned parameters besides the weight.</summary>
    public virtual IEnumerable<Parameter> Parameters => [];

    public abstract Tensor Apply(Tensor tensor);

    /// <summary>
    /// The sum of squared differences between the weights, clipped to the range of their codes, and the values of these codes.
    /// </summary>
    /// <returns>A scalar with a gradient only for the weight.</returns>
    public Tensor Dampening(Tensor weight)
    {
        using var scope = NewDisposeScope();
        return (Clip(weight) - Apply(weight).detach()).Square().sum().MoveToOuterDisposeScope();
    }

    /// <summary>The weight, clipped to the values of the outermost codes. Clipped weights get no gradient.</summary>
    public abstract Tensor Clip(Tensor weight);

    /// <summary>The codes and parameters that <see cref="Apply"/> computes with.</summary>
    public abstract QuantizedTensor Convert(Tensor weight);

    /// <summary>Switches to another scheme of the same granularity and restarts from the current weight.</summary>
    public virtual void ChangeScheme(QuantizationScheme next, Tensor weight)
    {
        if (next != Scheme)
        {
            Scheme = next;
            Restart(weight, null);
        }
    }

    /// <summary>
    /// Starts with the parameters of a quantized weight, or, if there is none, with those of the least squared error (<see cref="WeightRange.Search"/>).
    /// </summary>
    public abstract void Restart(Tensor weight, QuantizedTensor? solution);

    /// <inheritdoc/>
    public abstract float[] Save();

    /// <inheritdoc/>
    public abstract void Load(float[] values);

    public static WeightFakeQuantizer Create(GradientEstimator estimator, QuantizationScheme scheme, Tensor weight, QuantizedTensor? solution = null)
    {
        var rows = (int)weight.shape[0];
        var columns = (int)(weight.numel() / rows);
        WeightFakeQuantizer quantizer = estimator switch
        {
            GradientEstimator.StraightThrough => new MinMaxWeightQuantizer(scheme, rows, columns),
            GradientEstimator.LearnedScale => new LearnedWeightQuantizer(scheme, rows, columns, learnsOffset: false),
            GradientEstimator.LearnedScaleAndOffset => new LearnedWeightQuantizer(scheme, rows, columns, learnsOffset: !scheme.Symmetric),
            _ => throw new ArgumentOutOfRangeException(nameof(estimator), estimator, null),
        };
        quantizer.Restart(weight, solution);
        return quantizer;
    }
}

/// <summary>A quantizer whose ranges follow the weights at every step. It uses the straight-through estimator.</summary>
/// <remarks>Ternary weights use the mean magnitude of their group as its scale (BitNet b1.58, Ma et al. 2024). All others use the group's range.</remarks>
internal sealed class MinMaxWeightQuantizer(QuantizationScheme scheme, int rows, int columns) : WeightFakeQuantizer(scheme, rows, columns)
{
    public override void Restart(Tensor weight, QuantizedTensor? solution)
    {
        // There is no state between two steps.
    }

    public override float[] Save() => [];

    public override void Load(float[] values)
    {
        // No state, as above.
    }

    public override Tensor Apply(Tensor tensor)
    {
        if (Scheme.Format != CodeFormat.Ternary)
        {
            return FusedFakeQuantization.MinMax(tensor.reshape(Rows, Columns), Scheme).view(tensor.shape);
        }

        using var scope = NewDisposeScope();
        var matrix = tensor.detach().reshape(Rows, Columns);
        var quantized = FusedFakeQuantization.Learned(matrix, MeanMagnitude(Groups.Split(matrix)), null, Scheme.Codes, Scheme.Granularity);
        return FakeQuantization.StraightThrough(tensor, quantized.view(tensor.shape)).MoveToOuterDisposeScope();
    }

    // The range extends to the outermost weights, except for ternary ones.
    public override Tensor Clip(Tensor weight)
    {
        if (Scheme.Format != CodeFormat.Ternary)
        {
            return weight;
        }

        var values = Groups.Split(weight);
        var scale = MeanMagnitude(values.detach());
        return Groups.Join(maximum(minimum(values, scale), -scale)).view(weight.shape);
    }

    public override QuantizedTensor Convert(Tensor weight)
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        var values = Conversion.ValuesOf(weight);
        return Scheme.Format == CodeFormat.Ternary
            ? RoundToNearest.QuantizeWith(values, Rows, Columns, Scheme, Conversion.ValuesOf(MeanMagnitude(Groups.Split(weight))), [])
            : RoundToNearest.Quantize(values, Rows, Columns, Scheme);
    }

    // The padding of an incomplete last group adds nothing to the sum and must not count.
    private Tensor MeanMagnitude(Tensor values) => FakeQuantization.RoundScale(values.abs().sum([1L], keepdim: true) / Groups.Counts, Scheme.ScalePrecision);
}

/// <summary>
/// A quantizer that learns the scale of each group together with the weights: LSQ (Esser et al. 2020). With a learned zero point it is LSQ+ (Bhalgat et al.
/// 2020).
/// </summary>
/// <remarks>
/// The scale starts at the range of least squared error, or at that of an initial solution. It is learned as <c>start * exp(p)</c>, which keeps it positive and
/// makes each optimizer step a relative change, whatever the magnitude of the scale. A learned zero point is rounded to a code with the straight-through
/// estimator. Gradients of both are multiplied by <c>1 / sqrt(n * codeMax)</c> for n values in a group (LSQ, section 2.2). Optimizers that normalize gradients,
/// for example Adam, are not affected by this factor, but others need it.
/// </remarks>
internal sealed class LearnedWeightQuantizer(QuantizationScheme scheme, int rows, int columns, bool learnsOffset) : WeightFakeQuantizer(scheme, rows, columns)
{
    private readonly Parameter logarithm = NewParameter(scheme, rows, columns);
    private readonly Parameter? offset = learnsOffset ? NewParameter(scheme, rows, columns) : null;
    private Tensor start = ones(1).DetachFromDisposeScope();
    private Tensor zeroPoint = zeros(1).DetachFromDisposeScope();

    public override IEnumerable<Parameter> Parameters => offset is null ? [logarithm] : [logarithm, offset];

    public override void Restart(Tensor weight, QuantizedTensor? solution)
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        var initial = solution ?? RoundToNearest.Quantize(Conversion.ValuesOf(weight), Rows, Columns, Scheme, WeightRange.Search);
        start.Dispose();
        zeroPoint.Dispose();
        start = tensor(initial.Scales).unsqueeze(1).DetachFromDisposeScope();
        zeroPoint = (Scheme.Symmetric ? zeros_like(start) : tensor(Array.ConvertAll(initial.ZeroPoints, point => (float)point)).unsqueeze(1))
            .DetachFromDisposeScope();
        logarithm.zero_();
        offset?.zero_();
    }

    public override float[] Save() => [.. Conversion.ValuesOf(start), .. Conversion.ValuesOf(zeroPoint)];

    public override void Load(float[] values)
    {
        var count = (int)start.numel();
        if (values.Length != 2 * count)
        {
            throw new NibbleException(
                $"the state of a weight quantizer has {values.Length} values, expected {2 * count}; the checkpoint is from another run: "
                    + $"{OutputJob.StartOver}");
        }

        Conversion.CopyInto(start, values[..count]);
        Conversion.CopyInto(zeroPoint, values[count..]);
    }

    public override Tensor Apply(Tensor tensor)
    {
        using var scope = NewDisposeScope();
        var (scale, zero) = Effective();
        var quantized = FusedFakeQuantization.Learned(
            tensor.reshape(Rows, Columns), scale, Scheme.Symmetric ? null : zero, Scheme.Codes, Scheme.Granularity, Scheme.Shift);
        return quantized.view(tensor.shape).MoveToOuterDisposeScope();
    }

    public override QuantizedTensor Convert(Tensor weight)
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        var (scale, zero) = Effective();
        sbyte[] zeroPoints = Scheme.Symmetric ? [] : Array.ConvertAll(Conversion.ValuesOf(zero), point => (sbyte)point);
        return RoundToNearest.QuantizeWith(Conversion.ValuesOf(weight), Rows, Columns, Scheme, Conversion.ValuesOf(scale), zeroPoints);
    }

    public override Tensor Clip(Tensor weight)
    {
        var (scale, zero) = Effective();
        var (low, high) = (
            zero.detach().SubtractedFrom(Scheme.Codes.Min).Plus(Scheme.Shift), zero.detach().SubtractedFrom(Scheme.Codes.Max).Plus(Scheme.Shift));
        return Groups.Join(maximum(minimum(Groups.Split(weight), high * scale.detach()), low * scale.detach())).view(weight.shape);
    }

    private static Parameter NewParameter(QuantizationScheme scheme, int rows, int columns) =>
        (Parameter)TorchSharp.torch.nn.Parameter(zeros(QuantizedTensor.GroupCount(rows, columns, scheme.Granularity), 1)).DetachFromDisposeScope();

    private (Tensor Scale, Tensor ZeroPoint) Effective() => LearnedGrid.Of(start, zeroPoint, logarithm, offset, Groups.Length, Scheme);
}
