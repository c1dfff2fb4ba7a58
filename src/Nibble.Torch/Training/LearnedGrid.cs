using Nibble.Numerics;
using Nibble.Torch.Layers;
using Nibble.Torch.Native;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Training;

/// <summary>The quantization grid of LSQ and LSQ+, computed from their learned parameters.</summary>
internal static class LearnedGrid
{
    /// <summary>
    /// Scales as they will be stored, <c>start * exp(logarithm)</c>, and zero points, rounded to codes if they are learned. Both use the straight-through
    /// estimator.
    /// </summary>
    /// <param name="start">The initial scales.</param>
    /// <param name="zeroPoint">The initial zero points, with the shape of <paramref name="start"/>.</param>
    /// <param name="logarithm">The logarithm of each scale divided by its initial value.</param>
    /// <param name="offset">The learned change of the zero points. Null if they are fixed.</param>
    /// <param name="count">The number of values that share a scale, for LSQ's gradient scale (Esser et al. 2020, section 2.2).</param>
    /// <param name="scheme">The scheme, which defines the codes and the precision of the scales.</param>
    public static (Tensor Scale, Tensor ZeroPoint) Of(
        Tensor start, Tensor zeroPoint, Parameter logarithm, Parameter? offset, long count, QuantizationScheme scheme)
    {
        var factor = 1 / Math.Sqrt((double)count * Math.Max(1, scheme.Codes.Max));
        var scale = start * FakeQuantization.ScaleGradient(logarithm, factor).exp();
        var stored = FakeQuantization.StraightThrough(scale, FakeQuantization.RoundScale(scale, scheme.ScalePrecision));
        if (offset is null)
        {
            return (stored, zeroPoint);
        }

        var exact = zeroPoint.Plus(FakeQuantization.ScaleGradient(offset, factor)).Clamp(scheme.Codes.Min, scheme.Codes.Max);
        return (stored, FakeQuantization.StraightThrough(exact, exact.round()));
    }
}
