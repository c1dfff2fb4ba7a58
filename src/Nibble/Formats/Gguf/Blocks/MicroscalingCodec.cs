using System.Runtime.Intrinsics;
using Nibble.Files;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>MXFP4: a power of two and 4-bit floats (OCP Microscaling: E8M0 and E2M1).</summary>
/// <remarks>The exponent is that of the largest magnitude minus 2. The largest magnitude then falls between 4 and 8 times the scale, and the largest code
/// is 6.</remarks>
internal sealed class MicroscalingCodec : IBlockCodec
{
    private const int Count = 32;
    private const int Half = Count / 2;
    private const int BlockBytes = 1 + Half;
    private const int Bias = 127;
    private const int SignBit = 8;

    // Twice the E2M1 values, so that they are integers. The scale is halved to compensate.
    private static readonly sbyte[] Values = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

    public GgufType Type => GgufType.MXFP4;

    public void Quantize(ReadOnlySpan<float> values, Span<byte> blocks)
    {
        Span<byte> codes = stackalloc byte[Count];
        for (; !values.IsEmpty; values = values[Count..], blocks = blocks[BlockBytes..])
        {
            var largest = 0f;
            foreach (var value in values[..Count])
            {
                largest = MathF.Max(largest, MathF.Abs(value));
            }

            blocks[0] = largest > 0 ? (byte)Math.Max(0, MathF.Floor(MathF.Log2(largest)) - 2 + Bias) : (byte)0;
            Nearest(values[..Count], HalvedScale(blocks[0]), codes);
            for (var i = 0; i < Half; i++)
            {
                blocks[1 + i] = (byte)(codes[i] | (codes[i + Half] << 4));
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

    /// <summary>The codes of the nearest values. A tie takes the lower code.</summary>
    private static void Nearest(ReadOnlySpan<float> values, float scale, Span<byte> codes)
    {
        for (; !values.IsEmpty; values = values[Vector256<float>.Count..], codes = codes[Vector256<float>.Count..])
        {
            // Codes from 8 up repeat the first eight with a negative sign. Negative zero is never chosen.
            var value = Vector256.Create(values);
            var magnitude = Vector256.Abs(value);
            var (code, least) = (Vector256<int>.Zero, magnitude);
            for (var candidate = 1; candidate < SignBit; candidate++)
            {
                var error = Vector256.Abs(Vector256.Create(Values[candidate] * scale) - magnitude);
                var nearer = Vector256.LessThan(error, least);
                least = Vector256.ConditionalSelect(nearer, error, least);
                code = Vector256.ConditionalSelect(nearer.AsInt32(), Vector256.Create(candidate), code);
            }

            var negative = Vector256.LessThan(value, Vector256<float>.Zero).AsInt32() & Vector256.GreaterThan(code, Vector256<int>.Zero);
            code |= negative & Vector256.Create(SignBit);
            Vector128.Narrow(Vector128.Narrow(code.GetLower(), code.GetUpper()), Vector128<short>.Zero).AsByte().GetLower().CopyTo(codes);
        }
    }
}
