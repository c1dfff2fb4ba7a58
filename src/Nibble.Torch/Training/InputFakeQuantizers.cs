using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Layers;
using Nibble.Torch.Native;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Training;

/// <summary>
/// Fake-quantizes a layer's input per tensor in training. Training determines the range, and the result has the parameters that were trained.
/// </summary>
/// <param name="scheme">A scheme per tensor.</param>
internal abstract class InputFakeQuantizer(QuantizationScheme scheme) : ITensorQuantizer, ITrainingState
{
    /// <summary>Share of the newest batch in a moving range.</summary>
    protected const float Momentum = 0.1f;

    private bool started;

    protected QuantizationScheme Scheme => scheme;

    /// <summary>The learned parameters.</summary>
    public virtual IEnumerable<Parameter> Parameters => [];

    /// <summary>Whether an observed range no longer changes.</summary>
    public bool Frozen { get; set; }

    public Tensor Apply(Tensor tensor)
    {
        if (!started)
        {
            Start(QuantizationParameters.FromRange(RangeOf(tensor), scheme));
        }

        return Quantize(tensor);
    }

    /// <summary>Sets the initial parameters from calibration. Without this call, the range of the first input is used.</summary>
    public void Start(QuantizationParameters parameters)
    {
        started = true;
        Begin(parameters);
    }

    public ActivationQuantization Convert()
    {
        if (!started)
        {
            throw new InvalidOperationException(
                "No input has passed through the quantizer, so its range is unknown. Run the model on a batch before converting it.");
        }

        using var scope = NewDisposeScope();
        using var guard = no_grad();
        return new ActivationQuantization(scheme, Parameters32());
    }

    public float[] Save() => [started ? 1 : 0, .. SaveRange()];

    public void Load(float[] values)
    {
        if (values.Length != 1 + SaveRange().Length)
        {
            throw new NibbleException(
                $"the state of an input quantizer has {values.Length} values, expected {1 + SaveRange().Length}; the checkpoint is from another run: "
                    + $"{OutputJob.StartOver}");
        }

        started = values[0] != 0;
        LoadRange(values.AsSpan(1));
    }

    /// <summary>The range from the lowest to the highest value of an input. Padding is excluded.</summary>
    /// <exception cref="NibbleException">A value is NaN or infinite.</exception>
    protected static ValueRange RangeOf(Tensor input)
    {
        using var scope = NewDisposeScope();
        var values = TokenMask.Select(input.detach());
        var range = new ValueRange(values.min().item<float>(), values.max().item<float>());
        return float.IsFinite(range.Min) && float.IsFinite(range.Max)
            ? range
            : throw new NibbleException(
                "the input of a layer that is quantized per tensor holds NaN or infinite values. Training diverged, or the data overflow. Lower the "
                + "learning rate, or check the data");
    }

    /// <summary>The state that training changes besides <see cref="Parameters"/>.</summary>
    protected abstract float[] SaveRange();

    protected abstract void LoadRange(ReadOnlySpan<float> values);

    /// <summary>The nearest values of the grid, with the gradient of LSQ.</summary>
    protected Tensor Put(Tensor x, Tensor scale, Tensor zeroPoint) => FusedFakeQuantization.Learned(x, scale, zeroPoint, scheme.Codes, Granularity.Tensor);

    protected abstract void Begin(QuantizationParameters parameters);

    protected abstract Tensor Quantize(Tensor x);

    /// <summary>The parameters in effect.</summary>
    protected abstract QuantizationParameters Parameters32();

    public static InputFakeQuantizer Create(ActivationEstimator estimator, QuantizationScheme scheme) => estimator switch
    {
        ActivationEstimator.StraightThrough => new ObservedInputQuantizer(scheme, follows: true),
        ActivationEstimator.LearnedScale => new LearnedInputQuantizer(scheme, learnsOffset: false),
        ActivationEstimator.LearnedScaleAndOffset => new LearnedInputQuantizer(scheme, learnsOffset: !scheme.Symmetric),
        ActivationEstimator.ClippedActivation => new ClippedInputQuantizer(scheme),
        _ => throw new ArgumentOutOfRangeException(nameof(estimator), estimator, null),
    };
}

/// <summary>
/// A range that follows the inputs as a moving average until it is frozen (Jacob et al. 2018). Gradients pass for values inside the range.
/// </summary>
/// <param name="scheme">A scheme per tensor.</param>
/// <param name="follows">Whether the range follows the inputs. If false, it keeps its initial value from calibration.</param>
internal sealed class ObservedInputQuantizer(QuantizationScheme scheme, bool follows) : InputFakeQuantizer(scheme)
{
    private QuantizationParameters parameters;
    private ValueRange range;

    protected override void Begin(QuantizationParameters parameters)
    {
        this.parameters = parameters;
        range = new ValueRange(parameters.Scale * (Scheme.Codes.Min - parameters.ZeroPoint), parameters.Scale * (Scheme.Codes.Max - parameters.ZeroPoint));
    }

    protected override Tensor Quantize(Tensor x)
    {
        if (follows && !Frozen && Recomputation.IsFirstPass)
        {
            var now = RangeOf(x);
            range = new ValueRange(range.Min + (Momentum * (now.Min - range.Min)), range.Max + (Momentum * (now.Max - range.Max)));
            parameters = QuantizationParameters.FromRange(range, Scheme);
        }

        return Put(x, tensor(parameters.Scale), tensor((float)parameters.ZeroPoint));
    }

    protected override QuantizationParameters Parameters32() => parameters;

    protected override float[] SaveRange() => [range.Min, range.Max, parameters.Scale, parameters.ZeroPoint];

    protected override void LoadRange(ReadOnlySpan<float> values) =>
        (range, parameters) = (new ValueRange(values[0], values[1]), new QuantizationParameters(values[2], (int)values[3]));
}

/// <summary>A quantizer with a learned scale (LSQ, Esser et al. 2020), and optionally a learned zero point (LSQ+, Bhalgat et al. 2020).</summary>
internal sealed class LearnedInputQuantizer(QuantizationScheme scheme, bool learnsOffset) : InputFakeQuantizer(scheme)
{
    private readonly Parameter logarithm = (Parameter)TorchSharp.torch.nn.Parameter(zeros(1)).DetachFromDisposeScope();
    private readonly Parameter? offset = learnsOffset ? (Parameter)TorchSharp.torch.nn.Parameter(zeros(1)).DetachFromDisposeScope() : null;
    private QuantizationParameters start;

    public override IEnumerable<Parameter> Parameters => offset is null ? [logarithm] : [logarithm, offset];

    protected override void Begin(QuantizationParameters parameters) => start = parameters;

    protected override float[] SaveRange() => [start.Scale, start.ZeroPoint];

    protected override void LoadRange(ReadOnlySpan<float> values) => start = new QuantizationParameters(values[0], (int)values[1]);

    protected override Tensor Quantize(Tensor x)
    {
        var (scale, zero) = Effective(TokenMask.Count(x));
        return Put(x, scale, zero);
    }

    protected override QuantizationParameters Parameters32()
    {
        var (scale, zero) = Effective(1);
        return new QuantizationParameters(scale.item<float>(), (int)zero.item<float>());
    }

    private (Tensor Scale, Tensor ZeroPoint) Effective(long count) =>
        LearnedGrid.Of(tensor(start.Scale), tensor((float)start.ZeroPoint), logarithm, offset, count, Scheme);
}

/// <summary>A range from zero (for symmetric schemes, from the negative end) to a learned end: PACT (Choi et al. 2018).</summary>
/// <remarks>The gradient of the end comes from the values beyond it. Unlike in LSQ, values inside the range contribute nothing.</remarks>
internal sealed class ClippedInputQuantizer(QuantizationScheme scheme) : InputFakeQuantizer(scheme)
{
    private readonly Parameter logarithm = (Parameter)TorchSharp.torch.nn.Parameter(zeros(1)).DetachFromDisposeScope();
    private float start;

    public override IEnumerable<Parameter> Parameters => [logarithm];

    protected override void Begin(QuantizationParameters parameters) =>
        start = Math.Max(parameters.Scale * (Scheme.Codes.Max - parameters.ZeroPoint), float.Epsilon);

    protected override float[] SaveRange() => [start];

    protected override void LoadRange(ReadOnlySpan<float> values) => start = values[0];

    protected override Tensor Quantize(Tensor x)
    {
        var end = logarithm.exp().Times(start);
        var parameters = Parameters32();
        var clipped = minimum(x, end);
        clipped = maximum(clipped, Scheme.Symmetric ? -end : zeros_like(end));
        var quantized = FakeQuantization.Apply(clipped.detach(), tensor(parameters.Scale), tensor((float)parameters.ZeroPoint), Scheme.Codes);
        return FakeQuantization.StraightThrough(clipped, quantized);
    }

    protected override QuantizationParameters Parameters32()
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        var end = logarithm.exp().Times(start).item<float>();
        return QuantizationParameters.FromRange(new ValueRange(Scheme.Symmetric ? -end : 0, end), Scheme);
    }
}
