using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace Nibble.Files;

/// <summary>How a GGUF file stores a tensor's values. The numbers are those in the file.</summary>
/// <remarks>Definition: ggml-org/ggml, <c>docs/gguf.md</c>, and <c>src/ggml-common.h</c> for the blocks.</remarks>
[SuppressMessage("Naming", "CA1707", Justification = "The format's own names; without the underscore, Q4_0 and Q4_K would read as Q40 and Q4K.")]
public enum GgufType
{
    /// <summary>IEEE 754 binary32.</summary>
    F32 = 0,

    /// <summary>IEEE 754 binary16.</summary>
    F16 = 1,

    /// <summary>32 values: a scale and codes of 4 bits, <c>d * (code - 8)</c>.</summary>
    Q4_0 = 2,

    /// <summary>32 values: a scale, a minimum and codes of 4 bits, <c>d * code + m</c>.</summary>
    Q4_1 = 3,

    /// <summary>32 values: a scale and codes of 5 bits, <c>d * (code - 16)</c>.</summary>
    Q5_0 = 6,

    /// <summary>32 values: a scale, a minimum and codes of 5 bits, <c>d * code + m</c>.</summary>
    Q5_1 = 7,

    /// <summary>32 values: a scale and signed codes of 8 bits, <c>d * code</c>.</summary>
    Q8_0 = 8,

    /// <summary>256 values: 16 sub-blocks with scales and minimums of 4 bits, codes of 2 bits.</summary>
    Q2_K = 10,

    /// <summary>256 values: 16 sub-blocks with scales of 6 bits, codes of 3 bits.</summary>
    Q3_K = 11,

    /// <summary>256 values: 8 sub-blocks with scales and minimums of 6 bits, codes of 4 bits.</summary>
    Q4_K = 12,

    /// <summary>256 values: 8 sub-blocks with scales and minimums of 6 bits, codes of 5 bits.</summary>
    Q5_K = 13,

    /// <summary>256 values: 16 sub-blocks with scales of 8 bits, codes of 6 bits.</summary>
    Q6_K = 14,

    /// <summary>Signed 8-bit integer.</summary>
    I8 = 24,

    /// <summary>Signed 16-bit integer.</summary>
    I16 = 25,

    /// <summary>Signed 32-bit integer.</summary>
    I32 = 26,

    /// <summary>Signed 64-bit integer.</summary>
    I64 = 27,

    /// <summary>IEEE 754 binary64.</summary>
    F64 = 28,

    /// <summary>bfloat16: the upper half of a binary32.</summary>
    BF16 = 30,

    /// <summary>256 values: a scale and ternary codes, five in a byte.</summary>
    TQ1_0 = 34,

    /// <summary>256 values: a scale and ternary codes of 2 bits, <c>d * (code - 1)</c>.</summary>
    TQ2_0 = 35,

    /// <summary>32 values: a power of two and 4-bit floats (OCP Microscaling).</summary>
    MXFP4 = 39,
}

/// <summary>Sizes of the types.</summary>
internal static class GgufTypes
{
    // Types of ggml that are not supported, including removed ones.
    private static readonly (uint Number, string Name)[] Unread =
    [
        (4, "Q4_2"), (5, "Q4_3"), (9, "Q8_1"), (15, "Q8_K"), (16, "IQ2_XXS"), (17, "IQ2_XS"), (18, "IQ3_XXS"), (19, "IQ1_S"), (20, "IQ4_NL"),
        (21, "IQ3_S"), (22, "IQ2_S"), (23, "IQ4_XS"), (29, "IQ1_M"), (31, "Q4_0_4_4"), (32, "Q4_0_4_8"), (33, "Q4_0_8_8"), (36, "IQ4_NL_4_4"),
        (37, "IQ4_NL_4_8"), (38, "IQ4_NL_8_8"), (40, "NVFP4"), (41, "Q1_0"), (42, "Q2_0"),
    ];

    /// <summary>ggml's name for the type with a number, even if it is not supported.</summary>
    internal static string NameOf(uint number) => Array.Find(Unread, type => type.Number == number).Name ?? number.ToString(CultureInfo.InvariantCulture);

    /// <summary>Values in a block; 1 if each value is stored separately.</summary>
    public static int BlockSize(this GgufType type) => type switch
    {
        GgufType.Q4_0 or GgufType.Q4_1 or GgufType.Q5_0 or GgufType.Q5_1 or GgufType.Q8_0 or GgufType.MXFP4 => 32,
        GgufType.Q2_K or GgufType.Q3_K or GgufType.Q4_K or GgufType.Q5_K or GgufType.Q6_K or GgufType.TQ1_0 or GgufType.TQ2_0 => 256,
        _ => 1,
    };

    /// <summary>Bytes of a block.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The number is not a type.</exception>
    public static int BlockBytes(this GgufType type) => type switch
    {
        GgufType.I8 => 1,
        GgufType.F16 or GgufType.BF16 or GgufType.I16 => 2,
        GgufType.F32 or GgufType.I32 => 4,
        GgufType.F64 or GgufType.I64 => 8,
        GgufType.MXFP4 => 17,
        GgufType.Q4_0 => 18,
        GgufType.Q4_1 => 20,
        GgufType.Q5_0 => 22,
        GgufType.Q5_1 => 24,
        GgufType.Q8_0 => 34,
        GgufType.TQ1_0 => 54,
        GgufType.TQ2_0 => 66,
        GgufType.Q2_K => 84,
        GgufType.Q3_K => 110,
        GgufType.Q4_K => 144,
        GgufType.Q5_K => 176,
        GgufType.Q6_K => 210,
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, "Not a type of a tensor."),
    };

    /// <summary>Whether values are stored one by one as floating-point numbers that models compute with: F32, F16 or BF16.</summary>
    public static bool IsFloat(this GgufType type) => type is GgufType.F32 or GgufType.F16 or GgufType.BF16;

    /// <summary>Bytes of a tensor.</summary>
    /// <param name="type">How its values are stored.</param>
    /// <param name="dimensions">Its sizes, the fastest-varying first.</param>
    /// <returns>The bytes; null if the first size is not whole blocks, a size is not positive, or the number of bytes overflows.</returns>
    public static long? CountBytes(this GgufType type, IReadOnlyList<long> dimensions)
    {
        ArgumentNullException.ThrowIfNull(dimensions);
        if (dimensions.Count == 0 || dimensions[0] % type.BlockSize() != 0)
        {
            return null;
        }

        long bytes = type.BlockBytes();
        for (var i = 0; i < dimensions.Count; i++)
        {
            var size = i == 0 ? dimensions[0] / type.BlockSize() : dimensions[i];
            if (size <= 0 || Math.BigMul(bytes, size, out bytes) != 0 || bytes < 0)
            {
                return null;
            }
        }

        return bytes;
    }
}
