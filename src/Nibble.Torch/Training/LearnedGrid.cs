using Nibble.Numerics;
using Nibble.Torch.Layers;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Training;

/// <summary>The grid that LSQ and LSQ+ quantize to, computed from what they learn.</summary>
internal static class LearnedGrid
{
    /// <summary>Scales as they will be stored, <c>start * exp(logarithm)</c>, and zero points, rounded to codes where they are learned; both straight
    /// through.</summary>
    /// <param name="start">The scales that training began with.</param>
    /// <param name="zeroPoint">The zero points that it began with, shaped like <paramref name="start"/>.</param>
    /// <param name="logarithm">The logarithm of each scale over its start.</param>
    /// <param name="offset">What is added to the zero points; null where they stay.</param>
    /// <param name="count">Values that share a scale, for LSQ's gradient scale (Esser et al. 2020, section 2.2).</param>
    /// <param name="scheme">The codes, and the precision of the scales.</param>
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

        var exact = (zeroPoint + FakeQuantization.ScaleGradient(offset, factor)).clamp(scheme.Codes.Min, scheme.Codes.Max);
        return (stored, FakeQuantization.StraightThrough(exact, exact.round()));
    }
}
