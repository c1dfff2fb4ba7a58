namespace Nibble.Numerics;

/// <summary>The integer codes that a scheme may use, both ends included.</summary>
/// <param name="Min">The lowest code.</param>
/// <param name="Max">The highest code.</param>
public readonly record struct CodeRange(int Min, int Max)
{
    /// <summary>Steps between the lowest and the highest code.</summary>
    public int Steps => Max - Min;
}

/// <summary>The precision in which scales are stored. Scales are rounded to it before any code is chosen.</summary>
public enum ScalePrecision
{
    /// <summary>IEEE 754 binary32.</summary>
    Float32,

    /// <summary>IEEE 754 binary16, as in GGUF, GPTQ, AWQ and compressed-tensors files.</summary>
    Float16,

    /// <summary>The power of two nearest in logarithm, so that hardware can shift instead of multiply. Stored as binary32.</summary>
    PowerOfTwo,
}

/// <summary>The numbers that a scheme's codes represent, in steps of the scale.</summary>
public enum CodeFormat
{
    /// <summary>Integers of the scheme's bit width: <c>-2^(bits-1) .. 2^(bits-1)-1</c>.</summary>
    Integer,

    /// <summary>-1, 0 and 1, stored in 2 bits (BitNet b1.58, Ma et al. 2024).</summary>
    Ternary,

    /// <summary>Integers plus a half, balanced around zero: at 2 bits -1.5, -0.5, 0.5 and 1.5 (ParetoQ's stretched elastic quantization, Liu et al.
    /// 2025).</summary>
    Stretched,
}

/// <summary>How a tensor's values become codes: <c>real = scale * (code - zeroPoint)</c>.</summary>
/// <remarks>
/// Codes are signed for every scheme: <c>-2^(bits-1) .. 2^(bits-1)-1</c>, or <c>-1 .. 1</c> if ternary. A symmetric scheme has
/// zero point 0. An asymmetric one has a zero point inside the code range. Both represent real zero exactly. Only a
/// stretched scheme cannot represent zero: its values are offset by half a step, <c>real = scale * (code + 1/2)</c>.
/// Stored bit streams hold <c>code + 2^(bits-1)</c> (see <c>BitPacking</c>), as in compressed-tensors.
/// </remarks>
public sealed record QuantizationScheme
{
    /// <summary>The lowest bit width of a code.</summary>
    public const int MinBits = 2;

    /// <summary>The highest bit width of a code.</summary>
    public const int MaxBits = 8;

    /// <summary>Creates a scheme of integer codes.</summary>
    /// <param name="bits">Bits of a code, 2 to 8.</param>
    /// <param name="symmetric">Whether the zero point is fixed at 0.</param>
    /// <param name="granularity">Which values share a scale.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="bits"/> is outside 2 to 8.</exception>
    public QuantizationScheme(int bits, bool symmetric, Granularity granularity)
    {
        ArgumentNullException.ThrowIfNull(granularity);
        if (bits is < MinBits or > MaxBits)
        {
            throw new ArgumentOutOfRangeException(
                nameof(bits), bits, $"A scheme has {MinBits} to {MaxBits} bits; for ternary codes use {nameof(QuantizationScheme)}.{nameof(CreateTernary)}.");
        }

        Bits = bits;
        Symmetric = symmetric;
        Granularity = granularity;
    }

    /// <summary>Bits of a stored code, 2 to 8 (2 for <see cref="CodeFormat.Ternary"/>).</summary>
    public int Bits { get; }

    /// <summary>Whether the zero point is fixed at 0.</summary>
    public bool Symmetric { get; }

    /// <summary>Which values share a scale.</summary>
    public Granularity Granularity { get; }

    /// <summary>The numbers that the codes represent.</summary>
    public CodeFormat Format { get; private init; }

    /// <summary>The offset that is added to a code minus its zero point before it is multiplied by the scale: 1/2 for <see cref="CodeFormat.Stretched"/>,
    /// otherwise 0.</summary>
    public float Shift => Format == CodeFormat.Stretched ? 0.5f : 0;

    /// <summary>The precision in which scales are stored.</summary>
    public ScalePrecision ScalePrecision { get; init; } = ScalePrecision.Float32;

    /// <summary>The codes this scheme may use.</summary>
    public CodeRange Codes => Format == CodeFormat.Ternary ? new CodeRange(-1, 1) : new CodeRange(-(1 << (Bits - 1)), (1 << (Bits - 1)) - 1);

    /// <summary>Creates a symmetric scheme with the codes -1, 0 and 1.</summary>
    /// <param name="granularity">Which values share a scale.</param>
    public static QuantizationScheme CreateTernary(Granularity granularity) => new(MinBits, symmetric: true, granularity) { Format = CodeFormat.Ternary };

    /// <summary>Creates a symmetric scheme whose values are offset from the codes by half a step.</summary>
    /// <param name="bits">Bits of a code, 2 to 8.</param>
    /// <param name="granularity">Which values share a scale.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="bits"/> is outside 2 to 8.</exception>
    public static QuantizationScheme CreateStretched(int bits, Granularity granularity) =>
        new(bits, symmetric: true, granularity) { Format = CodeFormat.Stretched };

    /// <inheritdoc/>
    public override string ToString() =>
        $"{Format switch { CodeFormat.Ternary => "ternary", CodeFormat.Stretched => $"stretched int{Bits}", _ => $"int{Bits}" }} "
            + $"{(Symmetric ? "symmetric" : "asymmetric")} per {Granularity}";
}
