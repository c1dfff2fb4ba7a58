namespace Nibble.Numerics;

/// <summary>An interval of real values, both ends included.</summary>
/// <param name="Min">The lowest value.</param>
/// <param name="Max">The highest value.</param>
public readonly record struct ValueRange(float Min, float Max);

/// <summary>The scale and zero point of <c>real = scale * (code - zeroPoint)</c>.</summary>
/// <param name="Scale">The distance between two neighbouring codes, positive and finite.</param>
/// <param name="ZeroPoint">The code of real zero; 0 in symmetric schemes.</param>
public readonly record struct QuantizationParameters(float Scale, int ZeroPoint)
{
    /// <summary>Computes the scale and zero point that spread a scheme's codes over a range of values.</summary>
    /// <remarks>
    /// The range is first widened to include zero. Symmetric: <c>scale = max(|min|, |max|) / ((codeMax - codeMin) / 2)</c>. Asymmetric:
    /// <c>scale = (max - min) / (codeMax - codeMin)</c>, <c>zeroPoint = clamp(round(codeMin - min / scale))</c>, rounding half to even.
    /// Every value in the range is then at most half a step from its code's value (plus the rounding of the scale if scales are stored as
    /// binary16). A range that contains only zero has scale 1. These are the formulas of compressed-tensors' <c>calculate_qparams</c> and of
    /// PyTorch's <c>MinMaxObserver</c>, without their epsilon.
    /// </remarks>
    /// <param name="range">The values to cover.</param>
    /// <param name="scheme">The codes to use.</param>
    /// <exception cref="ArgumentException">An end of the range is not finite, or the minimum is above the maximum.</exception>
    public static QuantizationParameters FromRange(ValueRange range, QuantizationScheme scheme)
    {
        ArgumentNullException.ThrowIfNull(scheme);
        if (!float.IsFinite(range.Min) || !float.IsFinite(range.Max) || range.Min > range.Max)
        {
            throw new ArgumentException($"A range must be finite and ordered, found [{range.Min}, {range.Max}].", nameof(range));
        }

        var scale = RoundScale(ExactScale(range, scheme), scheme.ScalePrecision);
        if (scheme.Symmetric)
        {
            return new QuantizationParameters(scale, 0);
        }

        var codes = scheme.Codes;
        var zeroPoint = Math.Round(codes.Min - (Math.Min(range.Min, 0d) / scale), MidpointRounding.ToEven);
        return new QuantizationParameters(scale, (int)Math.Clamp(zeroPoint, codes.Min, codes.Max));
    }

    /// <summary><see cref="FromRange"/>, unless the scale is above what the scheme's precision can hold.</summary>
    internal static bool TryFromRange(ValueRange range, QuantizationScheme scheme, out QuantizationParameters parameters)
    {
        var storable = float.IsFinite(Stored(ExactScale(range, scheme), scheme.ScalePrecision));
        parameters = storable ? FromRange(range, scheme) : default;
        return storable;
    }

    /// <summary>The smallest scale in use: the smallest normal binary32, below which division could overflow, or the smallest subnormal
    /// binary16.</summary>
    public static float MinScale(ScalePrecision precision) => precision == ScalePrecision.Float16 ? (float)Half.Epsilon : 1.17549435e-38f;

    /// <summary>Rounds a scale to its stored precision, but never to zero. 0 becomes 1.</summary>
    /// <exception cref="OverflowException">The scale is above what the precision can hold.</exception>
    public static float RoundScale(double scale, ScalePrecision precision)
    {
        if (scale == 0)
        {
            return 1;
        }

        var stored = Stored(scale, precision);
        return float.IsFinite(stored)
            ? Math.Max(stored, MinScale(precision))
            : throw new OverflowException($"The scale {scale} is above what {precision} can hold; store scales as {ScalePrecision.Float32}.");
    }

    /// <summary><see cref="RoundScale"/> of a scale found by a search, unless it is not positive or cannot be stored.</summary>
    internal static bool TryRoundScale(double scale, ScalePrecision precision, out float rounded)
    {
        var storable = scale > 0 && scale <= (precision == ScalePrecision.Float16 ? (double)Half.MaxValue : float.MaxValue);
        rounded = storable ? RoundScale(scale, precision) : 1;
        return storable;
    }

    /// <summary>Whether a scale is a possible result of <see cref="RoundScale"/>.</summary>
    internal static bool IsStorable(float scale, ScalePrecision precision) =>
        float.IsFinite(scale) && scale >= MinScale(precision) && Stored(scale, precision) == scale;

    private static float Stored(double scale, ScalePrecision precision) => precision switch
    {
        ScalePrecision.Float16 => (float)(Half)(float)scale,
        ScalePrecision.PowerOfTwo => (float)Math.ScaleB(1, (int)Math.Round(Math.Log2((float)scale))),
        _ => (float)scale,
    };

    /// <summary>The scale before it is rounded to its stored precision.</summary>
    private static double ExactScale(ValueRange range, QuantizationScheme scheme)
    {
        var min = Math.Min(range.Min, 0d);
        var max = Math.Max(range.Max, 0d);
        return scheme.Symmetric ? Math.Max(-min, max) / (scheme.Codes.Steps / 2d) : (max - min) / scheme.Codes.Steps;
    }
}
