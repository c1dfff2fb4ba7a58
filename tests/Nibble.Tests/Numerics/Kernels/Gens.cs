using Nibble.Numerics;

namespace Nibble.Tests.Numerics.Kernels;

/// <summary>Generators of what a quantizer meets.</summary>
internal static class Gens
{
    private static readonly float[] Specials =
    [
        float.NaN, float.PositiveInfinity, float.NegativeInfinity, 0f, -0f, float.Epsilon, -float.Epsilon, 1e-40f, -1e-40f,
        float.MaxValue, float.MinValue, 0.5f, -0.5f, 1.5f, 2.5f, -2.5f, 127.5f, -128.5f, 1e10f,
    ];

    /// <summary>All widths, both symmetries, and ternary.</summary>
    public static Gen<QuantizationScheme> Scheme { get; } =
        from bits in Gen.Int[QuantizationScheme.MinBits - 1, QuantizationScheme.MaxBits]
        from symmetric in Gen.Bool
        select bits < QuantizationScheme.MinBits
            ? QuantizationScheme.CreateTernary(Granularity.Tensor)
            : new QuantizationScheme(bits, symmetric, Granularity.Tensor);

    /// <summary>Finite values of ordinary size.</summary>
    public static Gen<float> Finite { get; } = Gen.Float[-300, 300];

    /// <summary>Any value, special ones and rounding ties often.</summary>
    public static Gen<float> Any { get; } = Gen.Frequency(
        (4, Finite),
        (2, OneOf(Specials)),
        (1, Gen.Int[-300, 300].Select(steps => steps / 2f)),
        (1, Gen.Single));

    /// <summary>Positive scales, powers of two often, so that ties occur; the smallest and the largest too.</summary>
    public static Gen<float> Scale { get; } = Gen.Frequency(
        (3, Gen.Int[-4, 4].Select(exponent => MathF.Pow(2, exponent))),
        (3, Gen.Float[0.001f, 10]),
        (1, OneOf(float.Epsilon, 1e-40f, QuantizationParameters.MinScale(ScalePrecision.Float32), 1e-20f, 1e30f)));

    /// <summary>A scheme's codes with parameters whose zero point is one of them.</summary>
    public static Gen<(QuantizationParameters Parameters, CodeRange Codes, int Bits)> Quantization { get; } =
        from scheme in Scheme
        from scale in Scale
        from zeroPoint in Gen.Int[scheme.Codes.Min, scheme.Codes.Max]
        select (new QuantizationParameters(scale, scheme.Symmetric ? 0 : zeroPoint), scheme.Codes, scheme.Bits);

    /// <summary>Codes of a width, with the width.</summary>
    public static Gen<(sbyte[] Codes, int Bits)> Codes { get; } =
        from bits in Gen.Int[QuantizationScheme.MinBits, QuantizationScheme.MaxBits]
        from codes in Gen.SByte[(sbyte)-(1 << (bits - 1)), (sbyte)((1 << (bits - 1)) - 1)].Array[0, 130]
        select (codes, bits);

    private static Gen<float> OneOf(params float[] values) => Gen.Int[0, values.Length - 1].Select(i => values[i]);
}
