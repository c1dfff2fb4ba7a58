using Nibble.Numerics;
using Nibble.Torch.Native;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Ptq.Learned;

/// <summary>Learns whether each weight is rounded down or up, with a soft choice that hardens: AdaRound (Nagel et al. 2020, equations 21 to 24).</summary>
/// <remarks>
/// <c>steps = floor + h(V)</c> with the rectified sigmoid <c>h(V) = clamp(1.2 sigmoid(V) - 0.1, 0, 1)</c>. V starts where h is the weight's own fraction. The
/// penalty <c>1 - |2h - 1|^beta</c> pushes h to 0 or 1, increasingly hard as beta falls from 20 to 2. The first fifth of the steps has no penalty.
/// </remarks>
internal sealed class AdaRoundWeight : LearnedWeight
{
    private const double Stretch = 1.2;
    private const double Offset = -0.1;

    /// <summary>The minimum initial distance of h from 0 and 1, where its gradient ends.</summary>
    private const double Margin = 0.01;
    private const double WarmUp = 0.2;
    private const double FirstExponent = 20;
    private const double LastExponent = 2;

    private readonly Tensor floor;
    private readonly Parameter choice;

    public AdaRoundWeight(Tensor weight, QuantizedTensor start)
        : base(weight, start)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        floor = minimum(FirstPosition.floor(), Highest.Minus(1)).DetachFromDisposeScope();
        var inner = (FirstPosition - floor).Clamp(Margin, 1 - Margin).Minus(Offset).DividedBy(Stretch);
        choice = (Parameter)nn.Parameter((inner / inner.SubtractedFrom(1)).log()).DetachFromDisposeScope();
    }

    public override Parameter Rounding => choice;

    /// <summary>
    /// From h = 0 to h = 1, V goes from -2.4 to 2.4. A few hundred steps must be enough for this distance, even if a weight changes sides first.
    /// </summary>
    public override double RoundingRate => 30;

    public override Tensor Penalty(double progress)
    {
        if (progress < WarmUp)
        {
            return zeros(1, device: choice.device);
        }

        var exponent = LastExponent + ((FirstExponent - LastExponent) * (1 - ((progress - WarmUp) / (1 - WarmUp))));
        return Share().Times(2).Minus(1).abs().Power(exponent).SubtractedFrom(1).sum();
    }

    protected override Tensor Steps() => floor.Plus(Share());

    protected override Tensor FinalSteps() => floor.Plus(Share().round());

    private Tensor Share() => choice.sigmoid().Times(Stretch).Plus(Offset).Clamp(0, 1);
}
