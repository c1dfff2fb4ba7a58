using Nibble.Numerics;
using Nibble.Torch.Layers;
using Nibble.Torch.Native;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Ptq.Learned;

/// <summary>Learns an offset for each weight before rounding: <c>round(w / scale + V)</c>, V from -0.5 to 0.5 (Cheng et al. 2023, equation 3).</summary>
/// <remarks>
/// The learned parameter is the position <c>w / scale + V</c> itself, with the straight-through estimator. Its bounds keep it in the code range, so that no
/// weight gets stuck where clamping would stop the gradient.
/// </remarks>
internal sealed class SignRoundWeight : LearnedWeight
{
    private const double Reach = 0.5;

    private readonly Parameter position;
    private readonly Tensor low;
    private readonly Tensor high;

    public SignRoundWeight(Tensor weight, QuantizedTensor start)
        : base(weight, start)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        position = (Parameter)nn.Parameter(FirstPosition.clone()).DetachFromDisposeScope();
        low = maximum(FirstPosition.Minus(Reach), Lowest).DetachFromDisposeScope();
        high = minimum(FirstPosition.Plus(Reach), Highest).DetachFromDisposeScope();
    }

    public override Parameter Rounding => position;

    public override double RoundingRate => 1;

    public override void Constrain()
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        position.clamp_(low, high);
    }

    protected override Tensor Steps() => FakeQuantization.StraightThrough(position, position.round());

    protected override Tensor FinalSteps() => position.round();
}
