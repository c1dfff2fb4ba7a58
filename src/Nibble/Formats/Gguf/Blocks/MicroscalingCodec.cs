namespace Nibble.Formats.Gguf.Blocks;

/// <summary>MXFP4: a power of two and 4-bit floats (OCP Microscaling: E8M0 and E2M1).</summary>
/// <remarks>The exponent is that of the largest magnitude less 2, so that the largest falls between 4 and 8, of which 6 is the last that a code can say.</remarks>
internal sealed class MicroscalingCodec : IBlockCodec
{
    private const int Count = 32;
    private const int Half = Count / 2;
    private const int BlockBytes = 1 + Half;
    private const int Bias = 127;

    // Twice the values of E2M1, to be whole; the scale is halved for it.
    private static readonly sbyte[] Values = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

    public GgufType Type => GgufType.MXFP4;

    public void Quantize(ReadOnlySpan<float> values, Span<byte> blocks)
    {
        for (; !values.IsEmpty; values = values[Count..], blocks = blocks[BlockBytes..])
        {
            var largest = 0f;
            foreach (var value in values[..Count])
            {
                largest = MathF.Max(largest, MathF.Abs(value));
            }

            blocks[0] = largest > 0 ? (byte)Math.Max(0, MathF.Floor(MathF.Log2(largest)) - 2 + Bias) : (byte)0;
            var scale = HalvedScale(blocks[0]);
            for (var i = 0; i < Half; i++)
            {
                blocks[1 + i] = (byte)(Nearest(values[i], scale) | (Nearest(values[i + Half], scale) << 4));
            }
        }
    }

    public void Dequantize(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; !values.IsEmpty; values = values[Count..], blocks = blocks[BlockBytes..])
        {
            var scale = HalvedScale(blocks[0]);
            for (var i = 0; i < Half; i++)
            {
                values[i] = Values[blocks[1 + i] & 0xF] * scale;
                values[i + Half] = Values[blocks[1 + i] >> 4] * scale;
            }
        }
    }

    private static float HalvedScale(byte exponent) => MathF.ScaleB(1, exponent - Bias - 1);

    /// <summary>The code of the nearest value, of two equally near the lower code.</summary>
    private static int Nearest(float value, float scale)
    {
        var (best, least) = (0, MathF.Abs(value));
        for (var code = 1; code < Values.Length; code++)
        {
            var error = MathF.Abs((Values[code] * scale) - value);
            if (error < least)
            {
                (best, least) = (code, error);
            }
        }

        return best;
    }
}
