using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Lane = System.Runtime.Intrinsics.Vector256<float>;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>Sub-blocks side by side, a lane each, so that eight are searched at once.</summary>
/// <remarks>
/// Lanes do not touch each other, products are fused with sums explicitly, and nothing is ever not a number where values are finite: every machine
/// gives the bits that each sub-block alone gets.
/// </remarks>
internal static class SubBlocks
{
    /// <summary>Sub-blocks that stand side by side.</summary>
    public const int Lanes = 8;

    /// <summary>Values of a super-block.</summary>
    public const int Count = 256;

    /// <summary>Vectors that hold a super-block.</summary>
    public const int Vectors = Count / Lanes;

    /// <summary>What spans less counts as constant: no binary16 scale is as small.</summary>
    public const float Least = 1e-15f;

    /// <summary>Puts sub-blocks side by side: vector <c>g * length + i</c> holds value <c>i</c> of sub-blocks <c>8 g</c> to <c>8 g + 7</c>.</summary>
    /// <param name="values">Whole groups of eight sub-blocks; ones when empty.</param>
    /// <param name="length">Values of a sub-block.</param>
    /// <param name="columns">As many vectors as the values fill.</param>
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

    /// <summary>Takes codes apart again, the inverse of <see cref="Split"/>.</summary>
    public static void Join(ReadOnlySpan<Lane> columns, int length, Span<byte> codes)
    {
        var source = MemoryMarshal.Cast<Lane, float>(columns);
        for (var group = 0; group < source.Length; group += Lanes * length)
        {
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

    /// <summary>The nearest code, half to even, within limits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lane Code(Lane value, Lane inverse, Lane first, Lane last) =>
        Vector256.MinNative(Vector256.MaxNative(Vector256.Round(value * inverse), first), last);

    /// <summary>One over a scale of either sign; 0 for a scale of zero.</summary>
    public static Lane Reciprocal(Lane scale) => Vector256.ConditionalSelect(Vector256.Equals(scale, Lane.Zero), Lane.Zero, Lane.One / scale);

    /// <summary>The sum of the lanes, from the first to the last.</summary>
    public static float Sum(Lane lanes)
    {
        var sum = 0f;
        for (var i = 0; i < Lanes; i++)
        {
            sum += lanes[i];
        }

        return sum;
    }

    /// <summary>A binary16 number.</summary>
    public static float ToHalf(float value) => (float)(Half)value;

    /// <summary>Whether binary16 can hold a number that is above zero.</summary>
    public static bool FitsHalf(float value) => value > 0 && value <= (float)Half.MaxValue;
}
