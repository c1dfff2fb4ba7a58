using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Lane = System.Runtime.Intrinsics.Vector256<float>;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>Sub-blocks side by side, one per lane, so that eight are searched at once.</summary>
/// <remarks>
/// Lanes are independent, products are explicitly fused with sums, and finite values never produce NaN. Every machine therefore gives each sub-block the
/// same bits as if it were searched separately.
/// </remarks>
internal static class SubBlocks
{
    /// <summary>The number of sub-blocks side by side.</summary>
    public const int Lanes = 8;

    /// <summary>The number of values in a super-block.</summary>
    public const int Count = 256;

    /// <summary>The number of vectors that hold a super-block.</summary>
    public const int Vectors = Count / Lanes;

    /// <summary>A smaller range counts as constant, because no binary16 scale is that small.</summary>
    public const float Least = 1e-15f;

    // A larger share would give some 2-bit weights more squared error than llama.cpp's blocks have.
    private const float StretchShare = 0.6f;
    private const float LongestStretch = 1.1f;

    /// <summary>Puts sub-blocks side by side: vector <c>g * length + i</c> holds value <c>i</c> of sub-blocks <c>8 g</c> to <c>8 g + 7</c>.</summary>
    /// <param name="values">Whole groups of eight sub-blocks; empty for ones.</param>
    /// <param name="length">The number of values in a sub-block.</param>
    /// <param name="columns">Receives as many vectors as the values fill.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Split(ReadOnlySpan<float> values, int length, Span<Lane> columns)
    {
        if (values.IsEmpty)
        {
            columns.Fill(Lane.One);
            return;
        }

        var target = MemoryMarshal.Cast<Lane, float>(columns);
        for (var group = 0; group < target.Length; group += Lanes * length)
        {
            if (Avx.IsSupported && length % Lanes == 0)
            {
                ref var first = ref MemoryMarshal.GetReference(values.Slice(group, Lanes * length));
                for (var i = 0; i < length; i += Lanes)
                {
                    Transpose(ref Unsafe.Add(ref first, i), length, ref target[group + (i * Lanes)], Lanes);
                }

                continue;
            }

            for (var lane = 0; lane < Lanes; lane++)
            {
                var source = values.Slice(group + (lane * length), length);
                for (var i = 0; i < source.Length; i++)
                {
                    target[group + (i * Lanes) + lane] = source[i];
                }
            }
        }
    }

    /// <summary>Writes codes back in order, the inverse of <see cref="Split"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Join(ReadOnlySpan<Lane> columns, int length, Span<byte> codes)
    {
        var source = MemoryMarshal.Cast<Lane, float>(columns);
        Span<Lane> rows = stackalloc Lane[Lanes];
        for (var group = 0; group < source.Length; group += Lanes * length)
        {
            if (Avx.IsSupported && length % Lanes == 0)
            {
                for (var i = 0; i < length; i += Lanes)
                {
                    Transpose(ref Unsafe.AsRef(in source[group + (i * Lanes)]), Lanes, ref MemoryMarshal.Cast<Lane, float>(rows)[0], Lanes);
                    for (var lane = 0; lane < Lanes; lane++)
                    {
                        var integers = Avx.ConvertToVector256Int32WithTruncation(rows[lane]);
                        var words = Sse2.PackSignedSaturate(integers.GetLower(), integers.GetUpper());
                        BinaryPrimitives.WriteUInt64LittleEndian(
                            codes[(group + (lane * length) + i)..], Sse2.PackUnsignedSaturate(words, words).AsUInt64().ToScalar());
                    }
                }

                continue;
            }

            for (var lane = 0; lane < Lanes; lane++)
            {
                var target = codes.Slice(group + (lane * length), length);
                for (var i = 0; i < target.Length; i++)
                {
                    target[i] = (byte)(int)source[group + (i * Lanes) + lane];
                }
            }
        }
    }

    /// <summary>Transposes eight rows of eight numbers.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Transpose(ref float source, int sourceStride, ref float target, int targetStride)
    {
        // Pairs of rows, pairs of pairs, then halves.
        var (a, b) = Pair(Row(ref source, 0), Row(ref source, 1));
        var (c, d) = Pair(Row(ref source, 2), Row(ref source, 3));
        var (e, f) = Pair(Row(ref source, 4), Row(ref source, 5));
        var (g, h) = Pair(Row(ref source, 6), Row(ref source, 7));
        Halves(ref target, 0, Avx.Shuffle(a, c, 0x44), Avx.Shuffle(e, g, 0x44));
        Halves(ref target, 1, Avx.Shuffle(a, c, 0xEE), Avx.Shuffle(e, g, 0xEE));
        Halves(ref target, 2, Avx.Shuffle(b, d, 0x44), Avx.Shuffle(f, h, 0x44));
        Halves(ref target, 3, Avx.Shuffle(b, d, 0xEE), Avx.Shuffle(f, h, 0xEE));

        Lane Row(ref float first, int row) => Vector256.LoadUnsafe(ref Unsafe.Add(ref first, row * sourceStride));

        static (Lane Low, Lane High) Pair(Lane first, Lane second) => (Avx.UnpackLow(first, second), Avx.UnpackHigh(first, second));

        void Halves(ref float first, int row, Lane upper, Lane lower)
        {
            Avx.Permute2x128(upper, lower, 0x20).StoreUnsafe(ref Unsafe.Add(ref first, row * targetStride));
            Avx.Permute2x128(upper, lower, 0x31).StoreUnsafe(ref Unsafe.Add(ref first, (row + 4) * targetStride));
        }
    }

    /// <summary>The nearest code, half to even, clamped to the limits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lane Code(Lane value, Lane inverse, Lane first, Lane last) =>
        Vector256.MinNative(Vector256.MaxNative(Vector256.Round(value * inverse), first), last);

    /// <summary>One over a scale of either sign; 0 for a scale of zero.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lane Reciprocal(Lane scale) => Vector256.ConditionalSelect(Vector256.Equals(scale, Lane.Zero), Lane.Zero, Lane.One / scale);

    /// <summary>The sum of the lanes, in the same order on every machine.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Lane lanes)
    {
        var half = lanes.GetLower() + lanes.GetUpper();
        return (half[0] + half[2]) + (half[1] + half[3]);
    }

    /// <summary>The first lane with the largest magnitude.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Peak(Lane lanes)
    {
        var magnitudes = Vector256.Abs(lanes);
        var half = Vector128.MaxNative(magnitudes.GetLower(), magnitudes.GetUpper());
        var largest = MathF.Max(MathF.Max(half[0], half[2]), MathF.Max(half[1], half[3]));
        return lanes[BitOperations.TrailingZeroCount(Vector256.Equals(magnitudes, Vector256.Create(largest)).ExtractMostSignificantBits())];
    }

    /// <summary>Narrows whole numbers in the range of signed bytes to bytes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector64<sbyte> Narrow(Lane lanes)
    {
        var integers = Vector256.ConvertToInt32(lanes);
        var words = Vector128.Narrow(integers.GetLower(), integers.GetUpper());
        return Vector128.Narrow(words, words).GetLower();
    }

    /// <summary>The factor by which to multiply a scale that gives the least squared error.</summary>
    /// <remarks>
    /// Least squares shrinks: projected onto the values, the dequantized values are shorter by the share of squares that is lost. Outputs shrink by the
    /// same share in all rows, whereas other errors cancel. The factor restores most of the length for a little more squared error.
    /// </remarks>
    /// <param name="squares">The weighted sum of the values' squares.</param>
    /// <param name="products">The weighted sum of the products of values and dequantized values.</param>
    public static float Stretch(float squares, float products) =>
        products > 0 ? MathF.Min(MathF.Max(1 + (StretchShare * ((squares / products) - 1)), 1), LongestStretch) : 1;

    /// <summary>The same factor for eight blocks with separate scales.</summary>
    public static Lane Stretch(Lane squares, Lane products)
    {
        var stretch = Vector256.Create(1f) + (StretchShare * ((squares / products) - Lane.One));
        var limited = Vector256.MinNative(Vector256.MaxNative(stretch, Lane.One), Vector256.Create(LongestStretch));
        return Vector256.ConditionalSelect(Vector256.GreaterThan(products, Lane.Zero), limited, Lane.One);
    }

    /// <summary>Rounds to binary16.</summary>
    public static float ToHalf(float value) => (float)(Half)value;

    /// <summary>Whether a number is positive and within the range of binary16.</summary>
    public static bool FitsHalf(float value) => value > 0 && value <= (float)Half.MaxValue;
}
