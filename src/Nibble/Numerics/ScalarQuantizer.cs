namespace Nibble.Numerics;

/// <summary>Quantizes one value at a time. Every kernel, fake quantizer and exporter is tested against this specification.</summary>
/// <remarks>
/// <c>code = clamp(round(value / scale) + zeroPoint)</c> in binary32, rounding half to even (ONNX QuantizeLinear). NaN becomes the
/// zero point, which is real zero. The infinities become the ends of the code range.
/// </remarks>
public static class ScalarQuantizer
{
    /// <summary>The code of a value.</summary>
    public static sbyte Quantize(float value, QuantizationParameters parameters, CodeRange codes)
    {
        if (float.IsNaN(value))
        {
            return (sbyte)parameters.ZeroPoint;
        }

        var code = MathF.Round(value / parameters.Scale, MidpointRounding.ToEven) + parameters.ZeroPoint;
        return (sbyte)Math.Clamp(code, codes.Min, codes.Max);
    }

    /// <summary>The value of a code.</summary>
    public static float Dequantize(sbyte code, QuantizationParameters parameters) => parameters.Scale * (code - parameters.ZeroPoint);

    /// <summary>Quantizes and dequantizes a value, which gives what the quantized model computes with.</summary>
    public static float FakeQuantize(float value, QuantizationParameters parameters, CodeRange codes) =>
        Dequantize(Quantize(value, parameters, codes), parameters);

    /// <summary>The code of a value on a stretched grid: <c>clamp(floor(value / scale))</c>. NaN becomes code 0.</summary>
    public static sbyte QuantizeStretched(float value, float scale, CodeRange codes) =>
        float.IsNaN(value) ? (sbyte)0 : (sbyte)Math.Clamp(MathF.Floor(value / scale), codes.Min, codes.Max);

    /// <summary>The value of a code on a stretched grid: <c>scale * (code + 1/2)</c>.</summary>
    public static float DequantizeStretched(sbyte code, float scale) => scale * (code + 0.5f);
}
