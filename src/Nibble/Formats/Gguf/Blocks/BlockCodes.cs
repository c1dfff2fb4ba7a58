using System.Buffers.Binary;
using Nibble.Files;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>How the 32 codes of a 4-bit or 5-bit block are packed.</summary>
/// <remarks>
/// Byte <c>i</c> of 16 holds the lower four bits of code <c>i</c> in its lower half and those of code <c>i + 16</c> in its upper half. At 5 bits, a 32-bit
/// word precedes the bytes, and its bit <c>i</c> is the fifth bit of code <c>i</c>.
/// </remarks>
internal static class BlockCodes
{
    /// <summary>The number of codes in a block.</summary>
    public const int Count = 32;

    private const int Half = Count / 2;

    /// <summary>The stored code that represents zero, which is subtracted from a code before the scale multiplies it. It is 0 if codes are signed or have a
    /// minimum.</summary>
    public static int ZeroOf(GgufType type) => type switch { GgufType.Q4_0 => 8, GgufType.Q5_0 => 16, GgufType.TQ1_0 or GgufType.TQ2_0 => 1, _ => 0 };

    /// <summary>Packs the codes of a block.</summary>
    /// <param name="codes">32 codes, 0 to <c>2^bits - 1</c>.</param>
    /// <param name="bits">4 or 5.</param>
    /// <param name="target">Receives 16 bytes, or 20 at 5 bits.</param>
    public static void Pack(ReadOnlySpan<byte> codes, int bits, Span<byte> target)
    {
        if (bits == 5)
        {
            var fifth = 0u;
            for (var i = 0; i < Count; i++)
            {
                fifth |= (uint)((codes[i] >> 4) & 1) << i;
            }

            BinaryPrimitives.WriteUInt32LittleEndian(target, fifth);
            target = target[sizeof(uint)..];
        }

        for (var i = 0; i < Half; i++)
        {
            target[i] = (byte)((codes[i] & 0xF) | ((codes[i + Half] & 0xF) << 4));
        }
    }

    /// <summary>Unpacks the codes of a block.</summary>
    /// <param name="source">16 bytes, or 20 at 5 bits.</param>
    /// <param name="bits">4 or 5.</param>
    /// <param name="codes">Receives 32 codes.</param>
    public static void Unpack(ReadOnlySpan<byte> source, int bits, Span<byte> codes)
    {
        var fifth = 0u;
        if (bits == 5)
        {
            fifth = BinaryPrimitives.ReadUInt32LittleEndian(source);
            source = source[sizeof(uint)..];
        }

        for (var i = 0; i < Half; i++)
        {
            codes[i] = (byte)((source[i] & 0xFu) | (((fifth >> i) & 1) << 4));
            codes[i + Half] = (byte)(((uint)source[i] >> 4) | (((fifth >> (i + Half)) & 1) << 4));
        }
    }
}
