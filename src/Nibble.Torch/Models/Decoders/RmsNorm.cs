using Nibble.Torch.Native;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Models.Decoders;

/// <summary>Root mean square normalisation (Zhang and Sennrich 2019): <c>x / sqrt(mean(x^2) + epsilon) * weight</c>.</summary>
internal sealed class RmsNorm : nn.Module<Tensor, Tensor>
{
    private readonly double epsilon;
    private readonly Parameter weight;

    /// <summary>Creates a norm.</summary>
    /// <param name="size">The number of channels.</param>
    /// <param name="epsilon">Added to the mean square.</param>
    /// <param name="addsOne">Whether it multiplies by 1 + weight instead of by the weight.</param>
    public RmsNorm(int size, double epsilon, bool addsOne = false)
        : base(nameof(RmsNorm))
    {
        this.epsilon = epsilon;
        Offset = addsOne ? 1 : 0;
        weight = nn.Parameter(addsOne ? zeros(size) : ones(size));
        RegisterComponents();
    }

    /// <summary>The weight of each channel, [size].</summary>
    public Parameter Weight => weight;

    /// <summary>What is added to the weight.</summary>
    public float Offset { get; }

    /// <summary>The factor of each channel: the weight with its offset, [size].</summary>
    public Tensor Factors => Offset == 0 ? weight : weight.Plus(Offset);

    public override Tensor forward(Tensor x) => x * rsqrt((x * x).mean([-1], keepdim: true).Plus(epsilon)) * Factors;
}
