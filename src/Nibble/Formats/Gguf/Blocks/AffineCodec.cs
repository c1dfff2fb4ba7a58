using Nibble.Files;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>Q4_1 and Q5_1: a scale, a minimum and codes, <c>value = d * code + m</c>.</summary>
/// <remarks>Codes are computed from the scale and minimum before these are rounded to binary16.</remarks>
internal sealed class AffineCodec(GgufType type, int bits) : IWeightedCodec
{
    private const int ScaleBytes = 2;
    private const int ParameterBytes = 4;
    private readonly int steps = (1 << bits) - 1;
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
            Avx2Blocks.QuantizeAffine4(values, blocks);
        }
        else
        {
            Avx2Blocks.QuantizeAffine5(values, blocks);
        }
    }

    public void Quantize(ReadOnlySpan<float> values, ReadOnlySpan<float> weights, Span<byte> blocks) =>
        WeightedBlocks.QuantizeAffine(values, weights, bits, blockBytes, blocks);

    /// <summary>The specification of <see cref="Quantize(ReadOnlySpan{float}, Span{byte})"/>.</summary>
    public void QuantizeScalar(ReadOnlySpan<float> values, Span<byte> blocks)
    {
        Span<byte> codes = stackalloc byte[BlockCodes.Count];
        for (; !values.IsEmpty; values = values[BlockCodes.Count..], blocks = blocks[blockBytes..])
        {
            var (min, max) = (float.MaxValue, float.MinValue);
            foreach (var value in values[..BlockCodes.Count])
            {
                min = value < min ? value : min;
                max = value > max ? value : max;
            }

            var scale = (max - min) / steps;
            var inverse = Rounding.Reciprocal(scale);
            for (var i = 0; i < BlockCodes.Count; i++)
            {
                var code = (sbyte)Rounding.Truncate(((values[i] - min) * inverse) + 0.5f);

                // The reference clamps 4-bit codes at the top, but not 5-bit codes.
                codes[i] = (byte)(bits == 4 ? Math.Min(steps, code) : code);
            }

            Rounding.WriteHalf(blocks, scale);
            Rounding.WriteHalf(blocks[ScaleBytes..], min);
            BlockCodes.Pack(codes, bits, blocks[ParameterBytes..]);
        }
    }

    public void Dequantize(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        Span<byte> codes = stackalloc byte[BlockCodes.Count];
        for (; !values.IsEmpty; values = values[BlockCodes.Count..], blocks = blocks[blockBytes..])
        {
            var scale = Rounding.ReadHalf(blocks);
            var min = Rounding.ReadHalf(blocks[ScaleBytes..]);
            BlockCodes.Unpack(blocks[ParameterBytes..], bits, codes);
            for (var i = 0; i < BlockCodes.Count; i++)
            {
                values[i] = (codes[i] * scale) + min;
            }
        }
    }
}
