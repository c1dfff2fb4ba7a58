using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Nibble.Numerics.Kernels;

/// <summary>Packs eight codes at a time inside a 64-bit word. Eight codes of any width fill whole bytes.</summary>
internal static class WordPacking
{
    private const int CodesPerWord = 8;
    private const ulong EveryByte = 0x0101010101010101;
    private const ulong LowBytes = 0x00FF00FF00FF00FF;
    private const ulong LowHalves = 0x0000FFFF0000FFFF;
    private const ulong LowWord = 0x00000000FFFFFFFF;

    public static void Pack(ReadOnlySpan<sbyte> codes, int bits, Span<byte> destination)
    {
        var bytes = MemoryMarshal.AsBytes(codes);
        // Adding 2^(bits-1) to a number of that many bits flips its highest bit.
        var flip = EveryByte << (bits - 1);
        var mask = EveryByte * ((1u << bits) - 1);
        var gap = 8 - bits;
        var done = 0;
        var written = 0;
        for (; done + CodesPerWord <= bytes.Length; done += CodesPerWord, written += bits)
        {
            var word = (BinaryPrimitives.ReadUInt64LittleEndian(bytes[done..]) ^ flip) & mask;
            word = (word & LowBytes) | ((word & ~LowBytes) >> gap);
            word = (word & LowHalves) | ((word & ~LowHalves) >> (2 * gap));
            word = (word & LowWord) | ((word & ~LowWord) >> (4 * gap));
            WriteLow(word, bits, destination[written..]);
        }

        ScalarKernel.PackStream(codes[done..], bits, destination[written..]);
    }

    public static void Unpack(ReadOnlySpan<byte> packed, int bits, Span<sbyte> codes)
    {
        var bytes = MemoryMarshal.AsBytes(codes);
        var mask = EveryByte * ((1u << bits) - 1);
        var sign = EveryByte << 7;
        var offset = EveryByte << (bits - 1);
        var gap = 8 - bits;
        // Bits of the lower half of each field when the fields have 8, 4 and 2 codes.
        var low4 = (1ul << (4 * bits)) - 1;
        var low2 = ((1ul << (2 * bits)) - 1) * 0x0000000100000001;
        var low1 = ((1ul << bits) - 1) * 0x0001000100010001;
        var done = 0;
        var read = 0;
        for (; done + CodesPerWord <= bytes.Length; done += CodesPerWord, read += bits)
        {
            var word = ReadLow(packed[read..], bits);
            word = (word & low4) | ((word & ~low4) << (4 * gap));
            word = (word & low2) | ((word & ~low2) << (2 * gap));
            word = ((word & low1) | ((word & ~low1) << gap)) & mask;
            // With the sign bit set, no byte borrows from the next. Subtracting 128 twice leaves a byte unchanged.
            word = bits == 8 ? word ^ sign : ((word | sign) - offset) ^ sign;
            BinaryPrimitives.WriteUInt64LittleEndian(bytes[done..], word);
        }

        ScalarKernel.UnpackStream(packed[read..], bits, codes[done..]);
    }

    private static void WriteLow(ulong word, int bytes, Span<byte> destination)
    {
        // Later writes overwrite the bytes above the word.
        if (destination.Length >= sizeof(ulong))
        {
            BinaryPrimitives.WriteUInt64LittleEndian(destination, word);
            return;
        }

        for (var i = 0; i < bytes; i++)
        {
            destination[i] = (byte)(word >> (8 * i));
        }
    }

    private static ulong ReadLow(ReadOnlySpan<byte> packed, int bytes)
    {
        if (packed.Length >= sizeof(ulong))
        {
            return BinaryPrimitives.ReadUInt64LittleEndian(packed) & (ulong.MaxValue >> (64 - (8 * bytes)));
        }

        var word = 0ul;
        for (var i = 0; i < bytes; i++)
        {
            word |= (ulong)packed[i] << (8 * i);
        }

        return word;
    }
}
