using Nibble.Numerics.Kernels;

namespace Nibble.Numerics;

/// <summary>Packs codes into a dense stream of bits and unpacks them.</summary>
/// <remarks>
/// The stream holds <c>code + 2^(bits-1)</c> for each code, least significant bit first, with no gaps: code i occupies bits
/// <c>i * bits</c> to <c>(i + 1) * bits - 1</c>, where bit b is bit <c>b mod 8</c> of byte <c>b / 8</c>. For widths that divide 32, the
/// stream read as little-endian 32-bit words is what compressed-tensors calls <c>pack-quantized</c>.
/// </remarks>
public static class BitPacking
{
    /// <summary>The number of bytes that packed codes take. The last byte is filled up with zeros.</summary>
    /// <param name="count">Codes, at least 0.</param>
    /// <param name="bits">Bits of a code, 2 to 8.</param>
    /// <exception cref="ArgumentOutOfRangeException">An argument is out of range.</exception>
    public static int PackedLength(int count, int bits)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        ArgumentOutOfRangeException.ThrowIfLessThan(bits, QuantizationScheme.MinBits);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(bits, QuantizationScheme.MaxBits);
        return (int)((((long)count * bits) + 7) / 8);
    }

    /// <summary>Packs codes.</summary>
    /// <param name="codes">Codes of <c>-2^(bits-1)</c> to <c>2^(bits-1)-1</c>.</param>
    /// <param name="bits">Bits of a code, 2 to 8.</param>
    /// <param name="destination">Receives the stream: <see cref="PackedLength"/> bytes.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="bits"/> is outside 2 to 8.</exception>
    /// <exception cref="ArgumentException">The destination has another length, or a code has more bits.</exception>
    public static void Pack(ReadOnlySpan<sbyte> codes, int bits, Span<byte> destination)
    {
        RequireLength(codes.Length, bits, destination.Length, nameof(destination));
        var limit = 1 << (bits - 1);
        if (bits < QuantizationScheme.MaxBits && codes.IndexOfAnyExceptInRange((sbyte)-limit, (sbyte)(limit - 1)) is var outside and >= 0)
        {
            throw new ArgumentException($"Code {outside} is {codes[outside]}, expected {-limit} to {limit - 1} in {bits} bits.", nameof(codes));
        }

        QuantizationKernels.Active.Pack(codes, bits, destination);
    }

    /// <summary>Unpacks codes. Any bits are valid. Bits after the last code are ignored.</summary>
    /// <param name="packed">The stream: <see cref="PackedLength"/> bytes.</param>
    /// <param name="bits">Bits of a code, 2 to 8.</param>
    /// <param name="codes">Receives the codes.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="bits"/> is outside 2 to 8.</exception>
    /// <exception cref="ArgumentException">The stream has another length.</exception>
    public static void Unpack(ReadOnlySpan<byte> packed, int bits, Span<sbyte> codes)
    {
        RequireLength(codes.Length, bits, packed.Length, nameof(packed));
        QuantizationKernels.Active.Unpack(packed, bits, codes);
    }

    private static void RequireLength(int count, int bits, int found, string name)
    {
        var expected = PackedLength(count, bits);
        if (found != expected)
        {
            throw new ArgumentException($"{count} codes of {bits} bits take {expected} bytes, found {found}.", name);
        }
    }
}
