using Nibble.Files;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>Q4_0 and Q5_0: a scale and codes with zero in the middle, <c>value = d * (code - 2^(bits-1))</c>.</summary>
/// <remarks>
/// The value with the largest magnitude gets code 0, the only code without a counterpart, so the scale has the opposite sign. Codes are computed from the
/// scale before it is rounded to binary16.
/// </remarks>
internal sealed class SignedCodec(GgufType type, int bits) : IWeightedCodec
{
    private const int ScaleBytes = 2;
    private readonly int zero = 1 << (bits - 1);
    private readonly int blockBytes = type.BlockBytes();

    public GgufType Type => type;

    public void Quantize(ReadOnlySpan<float> values, Span<byte> blocks)
    {
        if (!Avx2Blocks.IsSupported)
        {
            QuantizeScalar(values, blocks);
        }
        else if (bits == 4)
        {
            Avx2Blocks.QuantizeSigned4(values, blocks);
        }
        else
        {
            Avx2Blocks.QuantizeSigned5(values, blocks);
        }
    }

    public void Quantize(ReadOnlySpan<float> values, ReadOnlySpan<float> weights, Span<byte> blocks) =>
        WeightedBlocks.QuantizeSigned(values, weights, bits, blockBytes, blocks);

    /// <summary>The specification of <see cref="Quantize(ReadOnlySpan{float}, Span{byte})"/>.</summary>
    public void QuantizeScalar(ReadOnlySpan<float> values, Span<byte> blocks)
    {
        Span<byte> codes = stackalloc byte[BlockCodes.Count];
        for (; !values.IsEmpty; values = values[BlockCodes.Count..], blocks = blocks[blockBytes..])
        {
            var (largest, peak) = (0f, 0f);
            foreach (var value in values[..BlockCodes.Count])
            {
                if (largest < MathF.Abs(value))
                {
                    (largest, peak) = (MathF.Abs(value), value);
                }
            }

            var scale = peak / -zero;
            var inverse = Rounding.Reciprocal(scale);
            for (var i = 0; i < BlockCodes.Count; i++)
            {
                codes[i] = (byte)Math.Min((2 * zero) - 1, (sbyte)Rounding.Truncate((values[i] * inverse) + (zero + 0.5f)));
            }

            Rounding.WriteHalf(blocks, scale);
            BlockCodes.Pack(codes, bits, blocks[ScaleBytes..]);
        }
    }

    public void Dequantize(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        Span<byte> codes = stackalloc byte[BlockCodes.Count];
        for (; !values.IsEmpty; values = values[BlockCodes.Count..], blocks = blocks[blockBytes..])
        {
            var scale = Rounding.ReadHalf(blocks);
            BlockCodes.Unpack(blocks[ScaleBytes..], bits, codes);
            for (var i = 0; i < BlockCodes.Count; i++)
            {
                values[i] = (codes[i] - zero) * scale;
            }
        }
    }
}
