using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>Quantizes blocks of 32 values with 256-bit x86 vectors. The output equals that of the scalar codecs bit for bit.</summary>
internal static class Avx2Blocks
{
    private const int Count = 32;
    private const int Width = 8;

    public static bool IsSupported => Avx2.IsSupported;

    /// <summary>Q8_0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void QuantizeBytes(ReadOnlySpan<float> values, Span<byte> blocks)
    {
        // The largest number below 0.5. Adding it carries fractions of a half or more to the next integer, and nothing else.
        var almostHalf = Vector256.Create(0.49999997f);
        var sign = Vector256.Create(-0f);
        for (; !values.IsEmpty; values = values[Count..], blocks = blocks[34..])
        {
            Load(values, out var first, out var second, out var third, out var fourth);
            var scale = Highest(Avx.Max(
                Avx.Max(Vector256.Abs(first), Vector256.Abs(second)), Avx.Max(Vector256.Abs(third), Vector256.Abs(fourth)))) / sbyte.MaxValue;
            Rounding.WriteHalf(blocks, scale);
            var inverse = Vector256.Create(Rounding.Reciprocal(scale));
            first *= inverse;
            second *= inverse;
            third *= inverse;
            fourth *= inverse;
            Pack(
                LowByte(Avx.ConvertToVector256Int32WithTruncation(first + ((first & sign) | almostHalf))),
                LowByte(Avx.ConvertToVector256Int32WithTruncation(second + ((second & sign) | almostHalf))),
                LowByte(Avx.ConvertToVector256Int32WithTruncation(third + ((third & sign) | almostHalf))),
                LowByte(Avx.ConvertToVector256Int32WithTruncation(fourth + ((fourth & sign) | almostHalf)))).CopyTo(blocks[2..]);
        }
    }

    /// <summary>Q4_0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void QuantizeSigned4(ReadOnlySpan<float> values, Span<byte> blocks) => QuantizeSigned(values, 4, blocks);

    /// <summary>Q5_0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void QuantizeSigned5(ReadOnlySpan<float> values, Span<byte> blocks) => QuantizeSigned(values, 5, blocks);

    /// <summary>Q4_1.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void QuantizeAffine4(ReadOnlySpan<float> values, Span<byte> blocks) => QuantizeAffine(values, 4, blocks);

    /// <summary>Q5_1.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void QuantizeAffine5(ReadOnlySpan<float> values, Span<byte> blocks) => QuantizeAffine(values, 5, blocks);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void QuantizeSigned(ReadOnlySpan<float> values, [ConstantExpected] int bits, Span<byte> blocks)
    {
        var zero = 1 << (bits - 1);
        var shift = Vector256.Create(zero + 0.5f);
        for (; !values.IsEmpty; values = values[Count..], blocks = blocks[(bits == 4 ? 18 : 22)..])
        {
            Load(values, out var first, out var second, out var third, out var fourth);
            var lowest = Lowest(Avx.Min(Avx.Min(first, second), Avx.Min(third, fourth)));
            var highest = Highest(Avx.Max(Avx.Max(first, second), Avx.Max(third, fourth)));

            // Which end is farther from zero is unpredictable, so a branch would miss half of the time. If both are equally far, the first value counts.
            var (low, high) = (Vector128.CreateScalarUnsafe(lowest), Vector128.CreateScalarUnsafe(highest));
            var peak = Vector128.ConditionalSelect(Vector128.GreaterThan(high, -low), high, low).ToScalar();
            if (highest == -lowest)
            {
                peak = values[FirstOf(highest, Vector256.Abs(first), Vector256.Abs(second), Vector256.Abs(third), Vector256.Abs(fourth))];
            }

            var scale = peak / -zero;
            Rounding.WriteHalf(blocks, scale);
            var inverse = Vector256.Create(Rounding.Reciprocal(scale));
            WriteCodes(
                Truncate((first * inverse) + shift, bits),
                Truncate((second * inverse) + shift, bits),
                Truncate((third * inverse) + shift, bits),
                Truncate((fourth * inverse) + shift, bits),
                bits,
                blocks[2..]);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void QuantizeAffine(ReadOnlySpan<float> values, [ConstantExpected] int bits, Span<byte> blocks)
    {
        var steps = (1 << bits) - 1;
        var half = Vector256.Create(0.5f);
        for (; !values.IsEmpty; values = values[Count..], blocks = blocks[(bits == 4 ? 20 : 24)..])
        {
            Load(values, out var first, out var second, out var third, out var fourth);
            var min = Lowest(Avx.Min(Avx.Min(first, second), Avx.Min(third, fourth)));
            var max = Highest(Avx.Max(Avx.Max(first, second), Avx.Max(third, fourth)));
            if (min == 0)
            {
                // Among zeros of both signs, the first counts.
                min = values[FirstOf(0, first, second, third, fourth)];
            }

            var scale = (max - min) / steps;
            Rounding.WriteHalf(blocks, scale);
            Rounding.WriteHalf(blocks[2..], min);
            var (inverse, minimum) = (Vector256.Create(Rounding.Reciprocal(scale)), Vector256.Create(min));
            WriteCodes(
                Truncate(((first - minimum) * inverse) + half, bits),
                Truncate(((second - minimum) * inverse) + half, bits),
                Truncate(((third - minimum) * inverse) + half, bits),
                Truncate(((fourth - minimum) * inverse) + half, bits),
                bits,
                blocks[4..]);
        }
    }

    /// <summary>Widens binary16 numbers.</summary>
    /// <returns>How many were widened. The caller handles the rest.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static int Widen(ReadOnlySpan<ushort> halves, Span<float> values)
    {
        ref var source = ref MemoryMarshal.GetReference(halves);
        ref var target = ref MemoryMarshal.GetReference(values);
        var (magnitude, sign) = (Vector256.Create(0x7FFF), Vector256.Create(0x8000));
        var infinite = Vector256.Create(0x7BFF);
        var exponent = Vector256.Create(0x7F800000);

        // The exponent biases differ by 112. The multiplication also brings subnormals into place.
        var scale = Vector256.Create(BitConverter.UInt32BitsToSingle((127u + 112) << 23));
        var done = 0;
        for (; done <= halves.Length - Width; done += Width)
        {
            var bits = Avx2.ConvertToVector256Int32(Vector128.LoadUnsafe(ref source, (nuint)done));
            var wide = (Vector256.ShiftLeft(bits & magnitude, 13).AsSingle() * scale).AsInt32();
            wide |= Avx2.CompareGreaterThan(bits & magnitude, infinite) & exponent;
            (wide | Vector256.ShiftLeft(bits & sign, 16)).AsSingle().StoreUnsafe(ref target, (nuint)done);
        }

        return done;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void WriteCodes(
        Vector256<int> first, Vector256<int> second, Vector256<int> third, Vector256<int> fourth, [ConstantExpected] int bits, Span<byte> target)
    {
        var codes = Pack(first, second, third, fourth);
        if (bits == 5)
        {
            // The fifth bit moves to each byte's sign bit, which the extraction reads.
            BinaryPrimitives.WriteUInt32LittleEndian(target, Vector256.ShiftLeft(codes.AsUInt16(), 3).AsByte().ExtractMostSignificantBits());
            target = target[sizeof(uint)..];
            codes &= Vector256.Create((byte)0xF);
        }

        (codes.GetLower() | Vector128.ShiftLeft(codes.GetUpper().AsUInt16(), 4).AsByte()).CopyTo(target);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Truncate(Vector256<float> value, [ConstantExpected] int bits)
    {
        var last = (1 << bits) - 1;
        return Avx2.Min(LowByte(Avx.ConvertToVector256Int32WithTruncation(value)), Vector256.Create(last)) & Vector256.Create(last);
    }

    /// <summary>C's conversion to a signed byte.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> LowByte(Vector256<int> value) => Vector256.ShiftRightArithmetic(Vector256.ShiftLeft(value, 24), 24);

    /// <summary>Packs 32 numbers as bytes, in order.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<byte> Pack(Vector256<int> first, Vector256<int> second, Vector256<int> third, Vector256<int> fourth)
    {
        var packed = Avx2.PackSignedSaturate(Avx2.PackSignedSaturate(first, second), Avx2.PackSignedSaturate(third, fourth));
        return Avx2.PermuteVar8x32(packed.AsInt32(), Vector256.Create(0, 4, 1, 5, 2, 6, 3, 7)).AsByte();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Lowest(Vector256<float> values)
    {
        var low = Sse.Min(values.GetLower(), values.GetUpper());
        low = Sse.Min(low, Sse.MoveHighToLow(low, low));
        return Sse.MinScalar(low, Sse.Shuffle(low, low, 1)).ToScalar();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Highest(Vector256<float> values)
    {
        var high = Sse.Max(values.GetLower(), values.GetUpper());
        high = Sse.Max(high, Sse.MoveHighToLow(high, high));
        return Sse.MaxScalar(high, Sse.Shuffle(high, high, 1)).ToScalar();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Load(
        ReadOnlySpan<float> values, out Vector256<float> first, out Vector256<float> second, out Vector256<float> third, out Vector256<float> fourth)
    {
        ref var source = ref MemoryMarshal.GetReference(values[..Count]);
        first = Vector256.LoadUnsafe(ref source);
        second = Vector256.LoadUnsafe(ref source, Width);
        third = Vector256.LoadUnsafe(ref source, 2 * Width);
        fourth = Vector256.LoadUnsafe(ref source, 3 * Width);
    }

    /// <summary>The index of the first value equal to a given value, which must be present.</summary>
    private static int FirstOf(float value, Vector256<float> first, Vector256<float> second, Vector256<float> third, Vector256<float> fourth)
    {
        var wanted = Vector256.Create(value);
        var places = (uint)Avx.MoveMask(Avx.CompareEqual(first, wanted))
            | ((uint)Avx.MoveMask(Avx.CompareEqual(second, wanted)) << 8)
            | ((uint)Avx.MoveMask(Avx.CompareEqual(third, wanted)) << 16)
            | ((uint)Avx.MoveMask(Avx.CompareEqual(fourth, wanted)) << 24);
        return BitOperations.TrailingZeroCount(places);
    }
}
