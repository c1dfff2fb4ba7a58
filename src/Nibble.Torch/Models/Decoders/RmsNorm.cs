using Nibble.Torch.Native;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Models.Decoders;

/// <summary>Root mean square normalisation (Zhang and Sennrich 2019): <c>x / sqrt(mean(x^2) + epsilon) * weight</c>.</summary>
internal sealed class RmsNorm : nn.Module<Tensor, Tensor>
{
    private readonly double epsilon;
    private readonly Parameter weight;

    public RmsNorm(int size, double epsilon)
        : base(nameof(RmsNorm))
    {
        this.epsilon = epsilon;
        weight = nn.Parameter(ones(size));
        RegisterComponents();
    }

    /// <summary>The weight of each channel, [size].</summary>
    public Parameter Weight => weight;

    public override Tensor forward(Tensor x) => x * rsqrt((x * x).mean([-1], keepdim: true).Plus(epsilon)) * weight;
}
