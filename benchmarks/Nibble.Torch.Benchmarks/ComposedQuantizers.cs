using Nibble.Numerics;
using Nibble.Torch.Layers;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Benchmarks;

/// <summary>A weight quantizer with learned scales that computes what the trainer's does, composed of tensor operators.</summary>
/// <param name="start">The scales and zero points to start from.</param>
internal sealed class ComposedWeightQuantizer(QuantizedTensor start) : ITensorQuantizer
{
    private readonly Tensor scales = tensor(start.Scales).DetachFromDisposeScope();
    private readonly Tensor zeroPoints = tensor(Array.ConvertAll(start.ZeroPoints, point => (float)point)).DetachFromDisposeScope();

    public Parameter Logarithm { get; } = (Parameter)nn.Parameter(zeros(start.Scales.Length)).DetachFromDisposeScope();

    public Tensor Apply(Tensor tensor)
    {
        using var scope = NewDisposeScope();
        var scale = scales * Logarithm.exp();
        var stored = FakeQuantization.StraightThrough(scale, FakeQuantization.RoundScale(scale, start.Scheme.ScalePrecision));
        return FusedFakeQuantization.ComposedLearned(tensor, stored, zeroPoints, start.Scheme.Codes, start.Scheme.Granularity).MoveToOuterDisposeScope();
    }
}

/// <summary>What <see cref="DynamicInputQuantizer"/> computes, composed of tensor operators.</summary>
internal sealed class ComposedInputQuantizer(QuantizationScheme scheme) : ITensorQuantizer
{
    public Tensor Apply(Tensor tensor) => FusedFakeQuantization.ComposedMinMax(tensor, scheme);
}
