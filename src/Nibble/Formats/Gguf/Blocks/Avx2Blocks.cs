using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>The blocks of 32 values in 256-bit vectors of x86; bit for bit what the scalar codecs write.</summary>
internal static class Avx2Blocks
{
    private const int Count = 32;
    private const int Width = 8;

    public static bool IsSupported => Avx2.IsSupported;

    /// <summary>Q8_0.</summary>
    public static void QuantizeBytes(ReadOnlySpan<float> values, Span<byte> blocks)
    {
        // The largest number below a half: added, it carries a half and more over the next integer, and nothing else.
        var almostHalf = Vector256.Create(0.49999997f);
        var sign = Vector256.Create(-0f);
        for (; !values.IsEmpty; values = values[Count..], blocks = blocks[34..])
        {
            var block = new Block(values);
            var scale = Largest(block) / sbyte.MaxValue;
            BinaryPrimitives.WriteHalfLittleEndian(blocks, (Half)scale);
            var inverse = Vector256.Create(Rounding.Reciprocal(scale));
            Pack(Round(block.First * inverse), Round(block.Second * inverse), Round(block.Third * inverse), Round(block.Fourth * inverse)).CopyTo(blocks[2..]);
        }

        Vector256<int> Round(Vector256<float> value) => LowByte(Avx.ConvertToVector256Int32WithTruncation(value + ((value & sign) | almostHalf)));
    }

    /// <summary>Q4_0 and Q5_0.</summary>
    public static void QuantizeSigned(ReadOnlySpan<float> values, int bits, Span<byte> blocks)
    {
        var zero = 1 << (bits - 1);
        var shift = Vector256.Create(zero + 0.5f);
        for (; !values.IsEmpty; values = values[Count..], blocks = blocks[(bits == 4 ? 18 : 22)..])
        {
            var block = new Block(values);
            var scale = values[block.FirstOf(Largest(block), magnitudes: true)] / -zero;
            BinaryPrimitives.WriteHalfLittleEndian(blocks, (Half)scale);
            var inverse = Vector256.Create(Rounding.Reciprocal(scale));
            WriteCodes(
                Truncate((block.First * inverse) + shift, bits),
                Truncate((block.Second * inverse) + shift, bits),
                Truncate((block.Third * inverse) + shift, bits),
                Truncate((block.Fourth * inverse) + shift, bits),
                bits,
                blocks[2..]);
        }
    }

    /// <summary>Q4_1 and Q5_1.</summary>
    public static void QuantizeAffine(ReadOnlySpan<float> values, int bits, Span<byte> blocks)
    {
        var steps = (1 << bits) - 1;
        var half = Vector256.Create(0.5f);
        for (; !values.IsEmpty; values = values[Count..], blocks = blocks[(bits == 4 ? 20 : 24)..])
        {
            var block = new Block(values);
            var lowest = Lowest(Avx.Min(Avx.Min(block.First, block.Second), Avx.Min(block.Third, block.Fourth)));
            var highest = -Lowest(-Avx.Max(Avx.Max(block.First, block.Second), Avx.Max(block.Third, block.Fourth)));

            // Of zeros of both signs, the first counts.
            var min = values[block.FirstOf(lowest, magnitudes: false)];
            var scale = (values[block.FirstOf(highest, magnitudes: false)] - min) / steps;
            BinaryPrimitives.WriteHalfLittleEndian(blocks, (Half)scale);
            BinaryPrimitives.WriteHalfLittleEndian(blocks[2..], (Half)min);
            var (inverse, minimum) = (Vector256.Create(Rounding.Reciprocal(scale)), Vector256.Create(min));
            WriteCodes(
                Truncate(((block.First - minimum) * inverse) + half, bits),
                Truncate(((block.Second - minimum) * inverse) + half, bits),
                Truncate(((block.Third - minimum) * inverse) + half, bits),
                Truncate(((block.Fourth - minimum) * inverse) + half, bits),
                bits,
                blocks[4..]);
        }
    }

    /// <summary>Widens binary16 numbers.</summary>
    /// <returns>How many were widened; the rest is for the caller.</returns>
    public static int Widen(ReadOnlySpan<ushort> halves, Span<float> values)
    {
        ref var source = ref MemoryMarshal.GetReference(halves);
        ref var target = ref MemoryMarshal.GetReference(values);
        var (magnitude, sign) = (Vector256.Create(0x7FFF), Vector256.Create(0x8000));
        var infinite = Vector256.Create(0x7BFF);
        var exponent = Vector256.Create(0x7F800000);

        // The exponents' biases differ by 112; multiplying also brings subnormals into place.
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

    private static void WriteCodes(Vector256<int> first, Vector256<int> second, Vector256<int> third, Vector256<int> fourth, int bits, Span<byte> target)
    {
        var codes = Pack(first, second, third, fourth);
        if (bits == 5)
        {
            // The fifth bit moves to where a byte's sign is looked for.
            BinaryPrimitives.WriteUInt32LittleEndian(target, Vector256.ShiftLeft(codes.AsUInt16(), 3).AsByte().ExtractMostSignificantBits());
            target = target[sizeof(uint)..];
            codes &= Vector256.Create((byte)0xF);
        }

        (codes.GetLower() | Vector128.ShiftLeft(codes.GetUpper().AsUInt16(), 4).AsByte()).CopyTo(target);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Truncate(Vector256<float> value, int bits)
    {
        var last = (1 << bits) - 1;
        return Avx2.Min(LowByte(Avx.ConvertToVector256Int32WithTruncation(value)), Vector256.Create(last)) & Vector256.Create(last);
    }

    /// <summary>C's conversion to a signed byte.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> LowByte(Vector256<int> value) => Vector256.ShiftRightArithmetic(Vector256.ShiftLeft(value, 24), 24);

    /// <summary>32 numbers as bytes, in their order.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<byte> Pack(Vector256<int> first, Vector256<int> second, Vector256<int> third, Vector256<int> fourth)
    {
        var packed = Avx2.PackSignedSaturate(Avx2.PackSignedSaturate(first, second), Avx2.PackSignedSaturate(third, fourth));
        return Avx2.PermuteVar8x32(packed.AsInt32(), Vector256.Create(0, 4, 1, 5, 2, 6, 3, 7)).AsByte();
    }

    private static float Largest(in Block block) => -Lowest(-Avx.Max(
        Avx.Max(Vector256.Abs(block.First), Vector256.Abs(block.Second)),
        Avx.Max(Vector256.Abs(block.Third), Vector256.Abs(block.Fourth))));

    private static float Lowest(Vector256<float> values)
    {
        var low = Sse.Min(values.GetLower(), values.GetUpper());
        low = Sse.Min(low, Sse.MoveHighToLow(low, low));
        return Sse.MinScalar(low, Sse.Shuffle(low, low, 1)).ToScalar();
    }

    private readonly struct Block
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Block(ReadOnlySpan<float> values)
        {
            ref var source = ref MemoryMarshal.GetReference(values[..Count]);
            First = Vector256.LoadUnsafe(ref source);
            Second = Vector256.LoadUnsafe(ref source, Width);
            Third = Vector256.LoadUnsafe(ref source, 2 * Width);
            Fourth = Vector256.LoadUnsafe(ref source, 3 * Width);
        }

        public Vector256<float> First { get; }

        public Vector256<float> Second { get; }

        public Vector256<float> Third { get; }

        public Vector256<float> Fourth { get; }

        /// <summary>The place of the first value, or magnitude, that equals one which is there.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public int FirstOf(float value, bool magnitudes)
        {
            var (wanted, kept) = (Vector256.Create(value), magnitudes ? Vector256.Create(0x7FFFFFFF).AsSingle() : Vector256<float>.AllBitsSet);
            var places = (uint)Avx.MoveMask(Avx.CompareEqual(First & kept, wanted))
                | ((uint)Avx.MoveMask(Avx.CompareEqual(Second & kept, wanted)) << 8)
                | ((uint)Avx.MoveMask(Avx.CompareEqual(Third & kept, wanted)) << 16)
                | ((uint)Avx.MoveMask(Avx.CompareEqual(Fourth & kept, wanted)) << 24);
            return BitOperations.TrailingZeroCount(places);
        }
    }
}
