using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Observers;
using static TorchSharp.torch;

namespace Nibble.Torch.Layers;

/// <summary>Quantizes each token of an input with parameters computed from that token.</summary>
/// <param name="scheme">A scheme per token.</param>
internal sealed class DynamicInputQuantizer(QuantizationScheme scheme) : ITensorQuantizer
{
    private readonly QuantizationScheme scheme = scheme;

    /// <inheritdoc/>
    public Tensor Apply(Tensor tensor) => FusedFakeQuantization.MinMax(tensor, scheme);

    /// <inheritdoc/>
    public bool IsLike(ITensorQuantizer other) => other is DynamicInputQuantizer dynamic && dynamic.scheme == scheme;
}

/// <summary>Quantizes an input with parameters that calibration or training fixed.</summary>
/// <param name="scheme">A scheme per tensor.</param>
/// <param name="parameters">The scale and zero point.</param>
internal sealed class StaticInputQuantizer(QuantizationScheme scheme, QuantizationParameters parameters) : ITensorQuantizer, IDisposable
{
    private readonly Tensor scale = tensor(parameters.Scale).DetachFromDisposeScope();
    private readonly Tensor zeroPoint = tensor((float)parameters.ZeroPoint).DetachFromDisposeScope();

    /// <inheritdoc/>
    /// <remarks>In training, a gradient passes where the code that the value rounds to is one of the range, and stops elsewhere.</remarks>
    public Tensor Apply(Tensor tensor) => FusedFakeQuantization.Learned(tensor, scale, zeroPoint, scheme.Codes, Granularity.Tensor);

    /// <inheritdoc/>
    public void Dispose()
    {
        scale.Dispose();
        zeroPoint.Dispose();
    }
}

/// <summary>Shows an input, without its padding (<see cref="TokenMask"/>), to an observer and passes it on unchanged.</summary>
/// <param name="observer">Takes the values in.</param>
internal sealed class ObservingQuantizer(IObserver observer) : ITensorQuantizer
{
    /// <inheritdoc/>
    public Tensor Apply(Tensor tensor)
    {
        using var scope = NewDisposeScope();
        observer.Observe(TokenMask.Select(tensor.detach()).cpu().contiguous().data<float>().ToArray());
        return tensor.alias().MoveToOuterDisposeScope();
    }
}

/// <summary>Makes the quantizer that simulates an artifact's activation quantization.</summary>
internal static class InputQuantizers
{
    public static ITensorQuantizer? Create(ActivationQuantization? input) => input switch
    {
        null => null,
        { Static: { } parameters } => new StaticInputQuantizer(input.Scheme, parameters),
        _ => new DynamicInputQuantizer(input.Scheme),
    };
}
