using System.Buffers.Binary;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>Conversions as C compiled for x64 does them, also where its standard leaves them open.</summary>
internal static class Rounding
{
    /// <summary>Cuts off the fraction; what no 32-bit integer can hold becomes the lowest, as the processor's own instruction has it.</summary>
    public static int Truncate(float value) => value is > -2147483904f and < 2147483648f ? (int)value : int.MinValue;

    /// <summary>Rounds half away from zero (C's <c>roundf</c>).</summary>
    public static float HalfAway(float value) => MathF.Round(value, MidpointRounding.AwayFromZero);

    /// <summary>One over a scale; 0 for a scale of zero.</summary>
    public static float Reciprocal(float scale) => scale != 0 ? 1 / scale : 0;

    /// <summary>Stores a number as binary16, half to even.</summary>
    public static void WriteHalf(Span<byte> target, float value) => BinaryPrimitives.WriteHalfLittleEndian(target, (Half)value);

    /// <summary>Reads a binary16.</summary>
    public static float ReadHalf(ReadOnlySpan<byte> source) => (float)BinaryPrimitives.ReadHalfLittleEndian(source);
}
