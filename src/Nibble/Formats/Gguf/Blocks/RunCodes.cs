using System.Runtime.Intrinsics;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>How the 256 codes of a super-block are packed: as eight runs of 32 codes, with several runs in the bits of the same 32 bytes.</summary>
/// <remarks>
/// At 4 bits, byte <c>i</c> of each 32 holds code <c>i</c> of one run in its lower half and code <c>i</c> of the next run in its upper half. At 2 bits, 32
/// bytes hold four runs, from the lowest bits up. At 1 bit, they hold all eight runs.
/// </remarks>
internal static class RunCodes
{
    private const int Run = 32;

    /// <summary>Packs the bits of codes.</summary>
    /// <param name="codes">256 codes.</param>
    /// <param name="shift">The lowest bit of a code to pack.</param>
    /// <param name="bits">The number of bits to pack: 1, 2 or 4.</param>
    /// <param name="target">Receives <c>32 * bits</c> bytes.</param>
    public static void Pack(ReadOnlySpan<byte> codes, int shift, int bits, Span<byte> target)
    {
        var mask = Vector256.Create((byte)((1 << bits) - 1));
        var together = 8 / bits;
        for (var part = 0; part < bits; part++)
        {
            var packed = Vector256<byte>.Zero;
            for (var i = 0; i < together; i++)
            {
                packed |= ((Vector256.Create(codes[(((part * together) + i) * Run)..]) >> shift) & mask) << (i * bits);
            }

            packed.CopyTo(target[(part * Run)..]);
        }
    }

    /// <summary>Adds packed bits to codes.</summary>
    /// <param name="source"><c>32 * bits</c> bytes.</param>
    /// <param name="shift">The position of the packed bits in a code.</param>
    /// <param name="bits">1, 2 or 4.</param>
    /// <param name="codes">256 codes, with zeros at that position.</param>
    public static void Unpack(ReadOnlySpan<byte> source, int shift, int bits, Span<byte> codes)
    {
        var mask = Vector256.Create((byte)((1 << bits) - 1));
        var together = 8 / bits;
        for (var part = 0; part < bits; part++)
        {
            var packed = Vector256.Create(source[(part * Run)..]);
            for (var i = 0; i < together; i++)
            {
                var run = codes[(((part * together) + i) * Run)..];
                (Vector256.Create<byte>(run) | (((packed >> (i * bits)) & mask) << shift)).CopyTo(run);
            }
        }
    }
}
