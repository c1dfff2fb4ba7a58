using System.Buffers.Binary;
using System.Runtime.CompilerServices;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>Conversions that match C compiled for x64, including where the C standard leaves the result undefined.</summary>
internal static class Rounding
{
    // As binary32 bits: 2^-14, 2^15 (well below where rounding reaches infinity), and the difference between the exponent biases.
    private const uint LowestNormal = 0x38800000;
    private const uint AboveNormal = 0x47000000;
    private const uint ExponentGap = (127 - 15) << 23;

    /// <summary>Truncates toward zero. A value that no 32-bit integer can hold becomes the lowest integer, as with the processor's instruction.</summary>
    public static int Truncate(float value) => value is > -2147483904f and < 2147483648f ? (int)value : int.MinValue;

    /// <summary>Rounds half away from zero (C's <c>roundf</c>).</summary>
    public static float HalfAway(float value) => MathF.Round(value, MidpointRounding.AwayFromZero);

    /// <summary>One over a scale; 0 for a scale of zero.</summary>
    public static float Reciprocal(float scale) => scale != 0 ? 1 / scale : 0;

    /// <summary>Writes a number as binary16, rounded half to even.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void WriteHalf(Span<byte> target, float value)
    {
        // Integer arithmetic for numbers that are normal in both formats, as scales are. The framework's conversion is a call of 30 instructions.
        var magnitude = BitConverter.SingleToUInt32Bits(value) & 0x7FFFFFFF;
        if (magnitude - LowestNormal < AboveNormal - LowestNormal)
        {
            var sign = (BitConverter.SingleToUInt32Bits(value) >> 16) & 0x8000;
            BinaryPrimitives.WriteUInt16LittleEndian(target, (ushort)(sign | ((magnitude - ExponentGap + 0xFFF + ((magnitude >> 13) & 1)) >> 13)));
        }
        else
        {
            BinaryPrimitives.WriteHalfLittleEndian(target, (Half)value);
        }
    }

    /// <summary>Reads a binary16 number.</summary>
    public static float ReadHalf(ReadOnlySpan<byte> source) => (float)BinaryPrimitives.ReadHalfLittleEndian(source);
}
