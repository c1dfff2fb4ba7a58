using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Ptq.Learned;

/// <summary>
/// A weight whose codes and scales are being learned: <c>scale * steps</c>, where steps are whole numbers, the code minus the zero point.
/// </summary>
/// <remarks>
/// Both variants start from existing codes. They keep each weight within one step of its first code and inside the code range, and learn the scale of each
/// group as <c>start * exp(p)</c>, used as it will be stored. Zero points do not change.
/// </remarks>
internal abstract class LearnedWeight : ITensorQuantizer, IDisposable
{
    /// <summary>
    /// The maximum distance of a weight's initial position from its first code. It is less than half a step, so that the position rounds to that code.
    /// </summary>
    private const double Margin = 0.49;

    private readonly QuantizedTensor start;
    private readonly Tensor groupOf;
    private readonly Tensor startScale;
    private readonly Tensor zeroPoint;
    private readonly Parameter logarithm;

    /// <summary>Starts learning.</summary>
    /// <param name="weight">The float weight, [out, in].</param>
    /// <param name="start">The codes and scales to start from.</param>
    protected LearnedWeight(Tensor weight, QuantizedTensor start)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        this.start = start;
        var scheme = start.Scheme;
        var device = weight.device;
        var parameters = scheme.Granularity is PerTensor ? 1 : start.Rows;
        groupOf = tensor([.. Enumerable.Range(0, start.Columns).Select(start.GroupOf)], dtype: int64, device: device).DetachFromDisposeScope();
        startScale = tensor(start.Scales, parameters, start.GroupsPerRow, device: device).DetachFromDisposeScope();
        zeroPoint = (scheme.Symmetric ? zeros_like(startScale) : Whole(start.ZeroPoints, parameters, start.GroupsPerRow, device)).DetachFromDisposeScope();
        logarithm = (Parameter)nn.Parameter(zeros_like(startScale)).DetachFromDisposeScope();

        var steps = Whole(start.Codes, start.Rows, start.Columns, device) - Expand(zeroPoint);
        Lowest = Expand(zeroPoint).SubtractedFrom(scheme.Codes.Min).expand(steps.shape).DetachFromDisposeScope();
        Highest = Expand(zeroPoint).SubtractedFrom(scheme.Codes.Max).expand(steps.shape).DetachFromDisposeScope();
        FirstPosition = (weight / Expand(startScale)).clamp(steps.Minus(Margin), steps.Plus(Margin)).clamp(Lowest, Highest).DetachFromDisposeScope();
        FirstSteps = steps.DetachFromDisposeScope();
    }

    /// <summary>The learned parameter of the codes.</summary>
    public abstract Parameter Rounding { get; }

    /// <summary>The rate of <see cref="Rounding"/> for a learning rate of 1, which is given in steps of the grid.</summary>
    public abstract double RoundingRate { get; }

    /// <summary>The learned parameter of the scales.</summary>
    public Parameter Logarithm => logarithm;

    /// <summary>The initial steps of the weight.</summary>
    protected Tensor FirstSteps { get; }

    /// <summary>The position of the float weight in steps. It rounds to <see cref="FirstSteps"/>.</summary>
    protected Tensor FirstPosition { get; }

    /// <summary>The steps of the lowest code.</summary>
    protected Tensor Lowest { get; }

    /// <summary>The steps of the highest code.</summary>
    protected Tensor Highest { get; }

    public static LearnedWeight Create(RoundingLearning learning, Tensor weight, QuantizedTensor start) => learning switch
    {
        RoundingLearning.AdaRound => new AdaRoundWeight(weight, start),
        RoundingLearning.SignRound => new SignRoundWeight(weight, start),
        _ => throw new ArgumentOutOfRangeException(nameof(learning), learning, null),
    };

    /// <summary>The weight that the layer uses while it learns.</summary>
    public Tensor Apply(Tensor tensor) => Steps() * Expand(Scale());

    /// <summary>Applies constraints. Call it after each step of the optimizer.</summary>
    public virtual void Constrain()
    {
    }

    /// <summary>
    /// A penalty term of the loss, from 0 for decided weights to 1 for undecided ones, summed over the weights. Null if the variant has no such term.
    /// </summary>
    /// <param name="progress">The share of learning that is done, 0 to 1.</param>
    public virtual Tensor? Penalty(double progress) => null;

    /// <summary>The learned weight, with every choice decided.</summary>
    public QuantizedTensor Convert()
    {
        using var pause = CollectorPause.Begin();
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var codes = Array.ConvertAll(Conversion.ValuesOf(FinalSteps().Plus(Expand(zeroPoint))), code => (sbyte)code);
        return new QuantizedTensor(start.Rows, start.Columns, start.Scheme, codes, Conversion.ValuesOf(Scale()), start.ZeroPoints, start.GroupIndex);
    }

    public void Dispose()
    {
        foreach (var owned in new[] { groupOf, startScale, zeroPoint, logarithm, FirstSteps, FirstPosition, Lowest, Highest, Rounding })
        {
            owned.Dispose();
        }
    }

    /// <summary>Steps with a gradient for <see cref="Rounding"/>.</summary>
    protected abstract Tensor Steps();

    /// <summary>Whole steps.</summary>
    protected abstract Tensor FinalSteps();

    private Tensor Scale()
    {
        var scale = startScale * logarithm.exp();
        return FakeQuantization.StraightThrough(scale, FakeQuantization.RoundScale(scale, start.Scheme.ScalePrecision));
    }

    private Tensor Expand(Tensor parameters) => parameters.index_select(1, groupOf);

    private static Tensor Whole(sbyte[] values, int rows, int columns, Device device) =>
        tensor(Array.ConvertAll(values, value => (float)value), rows, columns, device: device);
}
