using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>Q6_K: 16 sub-blocks of 16 values with scales of 8 bits under one of 16, <c>value = d * scale * (code - 32)</c>.</summary>
/// <remarks>
/// Layout: ggml-org/ggml, <c>src/ggml-common.h</c>, <c>block_q6_K</c>. Each sub-block tries ten scales around the one that maps its largest
/// magnitude to code 0, and takes the one whose codes leave the least squared error under the scale that fits them best. Eight
/// sub-blocks are searched side by side, a lane each; lanes do not touch, so every machine gives the same bits.
/// </remarks>
internal sealed class SixBitCodec : IBlockCodec
{
    private const int Count = 256;
    private const int SubBlock = 16;
    private const int SubBlocks = Count / SubBlock;
    private const int Lanes = 8;
    private const int BlockBytes = 210;
    private const int UpperOffset = 128;
    private const int ScalesOffset = 192;
    private const int FactorOffset = 208;
    private const int Zero = 32;

    // Below this a block counts as zero, as in the reference.
    private const float Least = 1e-15f;

    public GgufType Type => GgufType.Q6_K;

    public void Quantize(ReadOnlySpan<float> values, Span<byte> blocks)
    {
        Span<float> scales = stackalloc float[SubBlocks];
        Span<byte> codes = stackalloc byte[Count];
        for (; !values.IsEmpty; values = values[Count..], blocks = blocks[BlockBytes..])
        {
            var block = blocks[..BlockBytes];
            block.Clear();
            Search(values, scales);
            Search(values[(Count / 2)..], scales[Lanes..]);
            var peak = 0f;
            foreach (var scale in scales)
            {
                peak = MathF.Abs(scale) > MathF.Abs(peak) ? scale : peak;
            }

            if (MathF.Abs(peak) < Least)
            {
                continue;
            }

            Rounding.WriteHalf(block[FactorOffset..], peak / sbyte.MinValue);
            var factor = Rounding.ReadHalf(block[FactorOffset..]);
            for (var sub = 0; sub < SubBlocks; sub++)
            {
                var step = factor != 0 ? (sbyte)Math.Clamp(MathF.Round(scales[sub] / factor), sbyte.MinValue, sbyte.MaxValue) : (sbyte)0;
                block[ScalesOffset + sub] = (byte)step;
                var scale = factor * step;
                Round(values.Slice(sub * SubBlock, SubBlock), scale, codes[(sub * SubBlock)..]);
            }

            Pack(codes, block);
        }
    }

    public void Dequantize(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; !values.IsEmpty; values = values[Count..], blocks = blocks[BlockBytes..])
        {
            var factor = Rounding.ReadHalf(blocks[FactorOffset..]);
            for (var i = 0; i < Count; i++)
            {
                // 128 values share 64 bytes of lower and 32 of upper bits.
                var (half, inside) = (i / 128, i % 128);
                var lower = (blocks[(half * 64) + (inside % 64)] >> (inside / 64 * 4)) & 0xF;
                var upper = (blocks[UpperOffset + (half * 32) + (inside % 32)] >> (inside / 32 * 2)) & 3;
                values[i] = factor * (sbyte)blocks[ScalesOffset + (i / SubBlock)] * ((lower | (upper << 4)) - Zero);
            }
        }
    }

    /// <summary>The codes of a sub-block, <c>clamp(round(value / scale))</c>, half to even; zeros where the scale is zero.</summary>
    private static void Round(ReadOnlySpan<float> values, float scale, Span<byte> codes)
    {
        if (scale == 0)
        {
            codes[..SubBlock].Fill(Zero);
            return;
        }

        var (divisor, low, high) = (Vector256.Create(scale), Vector256.Create(-(float)Zero), Vector256.Create(Zero - 1f));
        Vector128.Narrow(Code(values), Code(values[Lanes..])).AsByte().CopyTo(codes);

        Vector128<short> Code(ReadOnlySpan<float> part)
        {
            var code = Vector256.ConvertToInt32(Vector256.Min(Vector256.Max(Vector256.Round(Vector256.Create(part) / divisor), low), high)) + Vector256.Create(Zero);
            return Vector128.Narrow(code.GetLower(), code.GetUpper());
        }
    }

    private static void Pack(ReadOnlySpan<byte> codes, Span<byte> block)
    {
        const int Run = 32;
        var (lower, upper) = (Vector256.Create((byte)0xF), Vector256.Create((byte)3));
        for (var half = 0; half < 2; half++)
        {
            var first = Vector256.Create(codes[(half * 4 * Run)..]);
            var second = Vector256.Create(codes[(((half * 4) + 1) * Run)..]);
            var third = Vector256.Create(codes[(((half * 4) + 2) * Run)..]);
            var fourth = Vector256.Create(codes[(((half * 4) + 3) * Run)..]);
            ((first & lower) | ((third & lower) << 4)).CopyTo(block[(half * 2 * Run)..]);
            ((second & lower) | ((fourth & lower) << 4)).CopyTo(block[(((half * 2) + 1) * Run)..]);
            (((first >> 4) & upper) | (((second >> 4) & upper) << 2) | (((third >> 4) & upper) << 4) | (((fourth >> 4) & upper) << 6)).CopyTo(block[(UpperOffset + (half * Run))..]);
        }
    }

    /// <summary>Finds the scales of eight sub-blocks; 0 where one is zero.</summary>
    private static void Search(ReadOnlySpan<float> values, Span<float> scales)
    {
        // Transposed: value i of each sub-block side by side.
        Span<float> lanes = stackalloc float[SubBlock * Lanes];
        for (var i = 0; i < lanes.Length; i++)
        {
            lanes[i] = values[(i % Lanes * SubBlock) + (i / Lanes)];
        }

        var columns = MemoryMarshal.Cast<float, Vector256<float>>(lanes);
        var (largest, peak) = (Vector256<float>.Zero, Vector256<float>.Zero);
        foreach (var value in columns)
        {
            var higher = Vector256.GreaterThan(Vector256.Abs(value), largest);
            largest = Vector256.ConditionalSelect(higher, Vector256.Abs(value), largest);
            peak = Vector256.ConditionalSelect(higher, value, peak);
        }

        var (low, high) = (Vector256.Create(-(float)Zero), Vector256.Create(Zero - 1f));
        var (best, found) = (Vector256<float>.Zero, Vector256<float>.Zero);
        for (var step = -9; step <= 9; step += 2)
        {
            var inverse = Vector256.Create(-(Zero + (0.1f * step))) / peak;
            var (products, squares) = (Vector256<float>.Zero, Vector256<float>.Zero);
            foreach (var value in columns)
            {
                var code = Vector256.Min(Vector256.Max(Vector256.Round(value * inverse), low), high);
                products += value * code;
                squares += code * code;
            }

            // What the fitted scale takes off the squared error; not a number where the sub-block is zero, and then no better.
            var gain = products * products / squares;
            var better = Vector256.GreaterThan(gain, best);
            best = Vector256.ConditionalSelect(better, gain, best);
            found = Vector256.ConditionalSelect(better, products / squares, found);
        }

        Vector256.ConditionalSelect(Vector256.GreaterThan(largest, Vector256.Create(Least)), found, Vector256<float>.Zero).CopyTo(scales);
    }
}
