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

/// <summary>Quantizes an input with fixed parameters from calibration or training.</summary>
/// <param name="scheme">A scheme per tensor.</param>
/// <param name="parameters">The scale and zero point.</param>
internal sealed class StaticInputQuantizer(QuantizationScheme scheme, QuantizationParameters parameters) : ITensorQuantizer, IDisposable
{
    private readonly Tensor scale = tensor(parameters.Scale).DetachFromDisposeScope();
    private readonly Tensor zeroPoint = tensor((float)parameters.ZeroPoint).DetachFromDisposeScope();

    /// <inheritdoc/>
    /// <remarks>In training, a gradient passes if the value's rounded code is in the range, and is zero otherwise.</remarks>
    public Tensor Apply(Tensor tensor) => FusedFakeQuantization.Learned(tensor, scale, zeroPoint, scheme.Codes, Granularity.Tensor);

    /// <inheritdoc/>
    public void Dispose()
    {
        scale.Dispose();
        zeroPoint.Dispose();
    }
}

/// <summary>Passes an input to an observer without its padding (<see cref="TokenMask"/>), and returns it unchanged.</summary>
/// <param name="observer">Receives the values.</param>
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

/// <summary>Creates the quantizer that simulates an artifact's activation quantization.</summary>
internal static class InputQuantizers
{
    public static ITensorQuantizer? Create(ActivationQuantization? input) => input switch
    {
        null => null,
        { Static: { } parameters } => new StaticInputQuantizer(input.Scheme, parameters),
        _ => new DynamicInputQuantizer(input.Scheme),
    };
}
