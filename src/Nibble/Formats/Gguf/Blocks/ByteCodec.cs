using Nibble.Files;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>Q8_0: a scale and signed bytes, <c>value = d * code</c>.</summary>
/// <remarks>Codes are computed from the scale before it is rounded to binary16.</remarks>
internal sealed class ByteCodec : IBlockCodec
{
    private const int Count = 32;
    private const int ScaleBytes = 2;
    private const int BlockBytes = ScaleBytes + Count;

    public GgufType Type => GgufType.Q8_0;

    public void Quantize(ReadOnlySpan<float> values, Span<byte> blocks)
    {
        if (Avx2Blocks.IsSupported)
        {
            Avx2Blocks.QuantizeBytes(values, blocks);
        }
        else
        {
            QuantizeScalar(values, blocks);
        }
    }

    /// <summary>The specification of <see cref="Quantize"/>.</summary>
    public static void QuantizeScalar(ReadOnlySpan<float> values, Span<byte> blocks)
    {
        for (; !values.IsEmpty; values = values[Count..], blocks = blocks[BlockBytes..])
        {
            var largest = 0f;
            foreach (var value in values[..Count])
            {
                largest = MathF.Max(largest, MathF.Abs(value));
            }

            var scale = largest / sbyte.MaxValue;
            var inverse = Rounding.Reciprocal(scale);
            Rounding.WriteHalf(blocks, scale);
            for (var i = 0; i < Count; i++)
            {
                blocks[ScaleBytes + i] = (byte)Rounding.Truncate(Rounding.HalfAway(values[i] * inverse));
            }
        }
    }

    public void Dequantize(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; !values.IsEmpty; values = values[Count..], blocks = blocks[BlockBytes..])
        {
            var scale = Rounding.ReadHalf(blocks);
            for (var i = 0; i < Count; i++)
            {
                values[i] = (sbyte)blocks[ScaleBytes + i] * scale;
            }
        }
    }
}
