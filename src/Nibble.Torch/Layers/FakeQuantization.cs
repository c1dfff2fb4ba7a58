using Nibble.Numerics;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Layers;

/// <summary>The quantizer of <see cref="ScalarQuantizer"/> composed of tensor operators, for any device, with gradients.</summary>
/// <remarks>Values equal the scalar quantizer's bit for bit, except that NaN stays NaN, so that training detects it.</remarks>
internal static class FakeQuantization
{
    /// <summary>Scales and zero points of rows of values, computed like <see cref="QuantizationParameters.FromRange"/>.</summary>
    /// <param name="min">The lowest value of each row.</param>
    /// <param name="max">The highest value of each row, with the same shape.</param>
    /// <param name="scheme">The scheme, which defines the codes.</param>
    /// <returns>Scales (float32) and zero points (float32, whole numbers) of the same shape.</returns>
    public static (Tensor Scale, Tensor ZeroPoint) Parameters(Tensor min, Tensor max, QuantizationScheme scheme)
    {
        using var scope = NewDisposeScope();
        var codes = scheme.Codes;
        var low = min.to(float64).ClampMax(0);
        var high = max.to(float64).ClampMin(0);
        var exact = scheme.Symmetric ? maximum(-low, high).DividedBy(codes.Steps / 2d) : (high - low).DividedBy(codes.Steps);
        var scale = RoundScale(exact, scheme.ScalePrecision);
        var zeroPoint = scheme.Symmetric
            ? zeros_like(scale)
            : (low / scale.to(float64)).SubtractedFrom(codes.Min).round().Clamp(codes.Min, codes.Max).to(float32);
        return (scale.MoveToOuterDisposeScope(), zeroPoint.MoveToOuterDisposeScope());
    }

    /// <summary>Scales rounded to their storage precision, like <see cref="QuantizationParameters.RoundScale"/>.</summary>
    public static Tensor RoundScale(Tensor scale, ScalePrecision precision)
    {
        var single = scale.to(float32);
        var stored = precision switch
        {
            ScalePrecision.Float16 => single.to(float16).to(float32),
            ScalePrecision.PowerOfTwo => single.to(float64).log2().round().exp2().to(float32),
            _ => single,
        };
        return where(scale.EqualTo(0), ones_like(stored), stored.ClampMin(QuantizationParameters.MinScale(precision)));
    }

    /// <summary>The dequantized values of <paramref name="x"/>, without a gradient.</summary>
    /// <param name="x">Values.</param>
    /// <param name="scale">Scales that broadcast to <paramref name="x"/>.</param>
    /// <param name="zeroPoint">Zero points that broadcast to <paramref name="x"/>.</param>
    /// <param name="codes">The range of codes.</param>
    /// <param name="shift">0, or 1/2 for a stretched grid (see <see cref="GroupGrids"/>).</param>
    public static Tensor Apply(Tensor x, Tensor scale, Tensor zeroPoint, CodeRange codes, float shift = 0)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var value = shift == 0
            ? (x / scale).round_().AddInPlace(zeroPoint).ClampInPlace(codes.Min, codes.Max).sub_(zeroPoint).mul_(scale)
            : (x / scale).floor_().ClampInPlace(codes.Min, codes.Max).AddInPlace(shift).mul_(scale);
        return value.MoveToOuterDisposeScope();
    }

    /// <summary>The straight-through estimator: the value of <paramref name="quantized"/>, the gradient of <paramref name="x"/> (Bengio et al. 2013).</summary>
    /// <remarks>The value is exact: x - x adds zero, where x + (quantized - x) could be one rounding away from the grid.</remarks>
    public static Tensor StraightThrough(Tensor x, Tensor quantized) => quantized.detach().Plus(x - x.detach());

    /// <summary>The value of <paramref name="x"/> with its gradient multiplied by a factor (LSQ's gradient scale, Esser et al. 2020, appendix A).</summary>
    public static Tensor ScaleGradient(Tensor x, double factor) => StraightThrough(x.Times(factor), x);

    /// <summary>Fake quantization with a learned step: LSQ (Esser et al. 2020, equations 1 to 3).</summary>
    /// <remarks>
    /// The gradient of a value passes if its rounded code is in the range, and is zero outside. The gradient of the scale is <c>round(v) - v</c> inside, with
    /// <c>v = x / scale</c>, and the end of the range outside. Composed of operators, autograd computes exactly these gradients. PyTorch's learnable fake
    /// quantizer has the same inside. The inside in the paper ends half a step earlier, which trains slightly worse at 2 bits.
    /// </remarks>
    /// <param name="x">Values.</param>
    /// <param name="scale">Scales that broadcast to <paramref name="x"/>, typically with a gradient.</param>
    /// <param name="zeroPoint">Zero points, whole numbers. In LSQ+ they have a gradient, which comes from the values outside the range.</param>
    /// <param name="codes">The range of codes.</param>
    /// <param name="shift">0, or 1/2 for a stretched grid (see <see cref="GroupGrids"/>).</param>
    public static Tensor Learned(Tensor x, Tensor scale, Tensor zeroPoint, CodeRange codes, float shift = 0)
    {
        var (lowest, highest) = (zeroPoint.SubtractedFrom(codes.Min), zeroPoint.SubtractedFrom(codes.Max));
        var v = x / scale;
        var step = shift == 0 ? v.detach().round() : v.detach().floor();
        var nearest = step.clamp(lowest.detach(), highest.detach());
        var bounded = where(step.eq(nearest), v, v.clamp(lowest, highest));
        return StraightThrough(bounded, nearest.Plus(shift)) * scale;
    }
}
