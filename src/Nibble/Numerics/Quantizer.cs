using Nibble.Numerics.Kernels;

namespace Nibble.Numerics;

/// <summary>Quantizes spans of values that share a scale and zero point, with the fastest instructions of the machine.</summary>
/// <remarks>
/// Every result equals that of <see cref="ScalarQuantizer"/> bit for bit, on every machine. The environment variable
/// <c>NIBBLE_KERNEL</c> (<c>scalar</c>, <c>vector</c>, <c>avx2</c>) forces one implementation. If it names an unknown or unsupported
/// implementation, every method of this class throws <see cref="NibbleException"/>.
/// </remarks>
public static class Quantizer
{
    /// <summary>The name of the implementation in use: <c>scalar</c>, <c>vector</c> or <c>avx2</c>.</summary>
    public static string Kernel => QuantizationKernels.Active.Name;

    /// <summary>The lowest and the highest finite value, and how many values are not finite.</summary>
    /// <param name="values">Any values; may be empty.</param>
    public static ValueStatistics Measure(ReadOnlySpan<float> values) => QuantizationKernels.Active.Measure(values);

    /// <summary>The codes of values: <c>clamp(round(value / scale) + zeroPoint)</c>, rounding half to even.</summary>
    /// <param name="values">The values. NaN becomes the zero point, and the infinities become the ends of the code range.</param>
    /// <param name="parameters">A positive finite scale and a zero point inside <paramref name="codes"/>.</param>
    /// <param name="codes">The codes to use, within -128 to 127.</param>
    /// <param name="destination">Receives the codes, one per value.</param>
    /// <exception cref="ArgumentException">The lengths differ, or the parameters or the codes are out of range.</exception>
    public static void Quantize(ReadOnlySpan<float> values, QuantizationParameters parameters, CodeRange codes, Span<sbyte> destination)
    {
        RequireParameters(parameters, codes);
        RequireLength(values.Length, destination.Length, nameof(destination));
        QuantizationKernels.Active.Quantize(values, parameters, codes, destination);
    }

    /// <summary>The values of codes: <c>scale * (code - zeroPoint)</c>.</summary>
    /// <param name="codes">The codes.</param>
    /// <param name="parameters">A positive finite scale and a zero point within -128 to 127.</param>
    /// <param name="destination">Receives the values, one per code.</param>
    /// <exception cref="ArgumentException">The lengths differ, or the parameters are out of range.</exception>
    public static void Dequantize(ReadOnlySpan<sbyte> codes, QuantizationParameters parameters, Span<float> destination)
    {
        RequireParameters(parameters, new CodeRange(sbyte.MinValue, sbyte.MaxValue));
        RequireLength(codes.Length, destination.Length, nameof(destination));
        QuantizationKernels.Active.Dequantize(codes, parameters, destination);
    }

    /// <summary>Quantizes and dequantizes values, which gives what the quantized model computes with.</summary>
    /// <param name="values">The values. NaN becomes zero.</param>
    /// <param name="parameters">A positive finite scale and a zero point inside <paramref name="codes"/>.</param>
    /// <param name="codes">The codes to use, within -128 to 127.</param>
    /// <param name="destination">Receives the values; may be <paramref name="values"/> itself, but must not overlap it otherwise.</param>
    /// <exception cref="ArgumentException">The lengths differ, the spans overlap in part, or the parameters or the codes are out of
    /// range.</exception>
    public static void FakeQuantize(ReadOnlySpan<float> values, QuantizationParameters parameters, CodeRange codes, Span<float> destination)
    {
        RequireParameters(parameters, codes);
        RequireLength(values.Length, destination.Length, nameof(destination));
        if (values.Overlaps(destination, out var offset) && offset != 0)
        {
            throw new ArgumentException("The destination must be the values themselves or must not overlap them.", nameof(destination));
        }

        QuantizationKernels.Active.FakeQuantize(values, parameters, codes, destination);
    }

    /// <summary>The sum of squared differences between values and their fake-quantized values.</summary>
    /// <remarks>
    /// Differences are rounded to binary32, squared without error and summed in binary64 in one fixed order, so that all machines
    /// agree. The result for n squares is within <c>(n / 8 + 3) * 2^-53</c>, relative, of the exact sum of those squares.
    /// </remarks>
    /// <param name="values">The values. NaN or an infinity among them makes the result NaN or infinite.</param>
    /// <param name="parameters">A positive finite scale and a zero point inside <paramref name="codes"/>.</param>
    /// <param name="codes">The codes to use, within -128 to 127.</param>
    /// <exception cref="ArgumentException">The parameters or the codes are out of range.</exception>
    public static double SquaredError(ReadOnlySpan<float> values, QuantizationParameters parameters, CodeRange codes)
    {
        RequireParameters(parameters, codes);
        return QuantizationKernels.Active.SquaredError(values, parameters, codes);
    }

    private static void RequireParameters(QuantizationParameters parameters, CodeRange codes)
    {
        if (!float.IsFinite(parameters.Scale) || parameters.Scale <= 0)
        {
            throw new ArgumentException($"A scale must be positive and finite, found {parameters.Scale}.", nameof(parameters));
        }

        if (codes.Min < sbyte.MinValue || codes.Max > sbyte.MaxValue || codes.Min > codes.Max)
        {
            throw new ArgumentException($"Codes must lie within {sbyte.MinValue} to {sbyte.MaxValue}, found {codes.Min} to {codes.Max}.", nameof(codes));
        }

        if (parameters.ZeroPoint < codes.Min || parameters.ZeroPoint > codes.Max)
        {
            throw new ArgumentException($"A zero point must be one of the codes {codes.Min} to {codes.Max}, found {parameters.ZeroPoint}.", nameof(parameters));
        }
    }

    private static void RequireLength(int expected, int found, string name)
    {
        if (found != expected)
        {
            throw new ArgumentException($"The destination must hold {expected} values, found {found}.", name);
        }
    }
}
