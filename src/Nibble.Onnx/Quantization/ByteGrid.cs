using Nibble.Numerics;

namespace Nibble.Onnx.Quantization;

/// <summary>The unsigned codes of an activation: <c>real = scale * (code - zeroPoint)</c> with codes of 0 to 255.</summary>
/// <param name="Scale">The distance between two codes.</param>
/// <param name="ZeroPoint">The code of zero.</param>
internal readonly record struct ByteGrid(float Scale, byte ZeroPoint)
{
    /// <summary>The scheme of activations. Its codes are signed; those of ONNX Runtime are larger by 128.</summary>
    public static QuantizationScheme Scheme { get; } = new(8, symmetric: false, Granularity.Tensor);

    private const int Offset = 128;

    /// <summary>The grid that spreads the codes over a range, which is widened to include zero.</summary>
    public static ByteGrid Of(ValueRange range)
    {
        var parameters = QuantizationParameters.FromRange(range, Scheme);
        return new ByteGrid(parameters.Scale, (byte)(parameters.ZeroPoint + Offset));
    }

    /// <summary>Quantizes values, rounding half to even as QuantizeLinear does.</summary>
    public byte[] Quantize(ReadOnlySpan<float> values)
    {
        var codes = new sbyte[values.Length];
        Quantizer.Quantize(values, new QuantizationParameters(Scale, ZeroPoint - Offset), Scheme.Codes, codes);
        return Array.ConvertAll(codes, code => (byte)(code + Offset));
    }
}
