using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Torch.Layers;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Qat;

/// <summary>Fake-quantizes an input per tensor with a learned scale (LSQ), starting from the calibrated one.</summary>
internal sealed class LearnedInputQuantizer(QuantizationScheme scheme, QuantizationParameters start) : ITensorQuantizer
{
    private readonly Tensor zeroPoint = tensor((float)start.ZeroPoint).DetachFromDisposeScope();

    /// <summary>The logarithm of the scale over its start.</summary>
    public Parameter Logarithm { get; } = TorchSharp.torch.nn.Parameter(zeros(1));

    private Tensor Scale => start.Scale * Logarithm.exp();

    public Tensor Apply(Tensor tensor)
    {
        using var scope = NewDisposeScope();
        var scale = Scale;
        var stored = FakeQuantization.StraightThrough(scale, FakeQuantization.RoundScale(scale, scheme.ScalePrecision));
        return FusedFakeQuantization.Learned(tensor, stored, zeroPoint, scheme.Codes, Granularity.Tensor).MoveToOuterDisposeScope();
    }

    public ActivationQuantization Convert()
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        return new ActivationQuantization(scheme, start with { Scale = FakeQuantization.RoundScale(Scale, scheme.ScalePrecision).item<float>() });
    }
}
