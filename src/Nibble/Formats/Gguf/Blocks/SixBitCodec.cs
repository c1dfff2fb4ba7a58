using System.Runtime.Intrinsics;
using Nibble.Files;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>Q6_K: 16 sub-blocks of 16 values with 8-bit scales and a 16-bit factor, <c>value = d * scale * (code - 32)</c>.</summary>
/// <remarks>
/// Layout: ggml-org/ggml, <c>src/ggml-common.h</c>, <c>block_q6_K</c>. For every 128 codes, 64 bytes hold the lower four bits and 32 bytes the upper two.
/// <see cref="SymmetricSearch"/> finds the codes.
/// </remarks>
internal sealed class SixBitCodec : IWeightedCodec
{
    private const int SubBlock = 16;
    private const int Scales = SubBlocks.Count / SubBlock;
    private const int BlockBytes = 210;
    private const int UpperOffset = 128;
    private const int ScalesOffset = 192;
    private const int FactorOffset = 208;
    private const int Zero = 32;

    /// <summary>The grid of a block.</summary>
    public static SymmetricGrid Grid { get; } = new(Zero, ZeroStep: 128, new ScaleTries(First: -4, Step: 0.8f, Tries: 6));

    public GgufType Type => GgufType.Q6_K;

    public void Quantize(ReadOnlySpan<float> values, Span<byte> blocks) => Quantize(values, [], blocks);

    public void Quantize(ReadOnlySpan<float> values, ReadOnlySpan<float> weights, Span<byte> blocks)
    {
        Span<sbyte> scales = stackalloc sbyte[Scales];
        Span<byte> codes = stackalloc byte[SubBlocks.Count];
        for (var i = 0; i < values.Length; i += SubBlocks.Count, blocks = blocks[BlockBytes..])
        {
            var factor = SymmetricSearch.Run(values.Slice(i, SubBlocks.Count), weights.IsEmpty ? [] : weights.Slice(i, SubBlocks.Count), Grid, scales, codes);
            PackLower(codes, blocks);
            RunCodes.Pack(codes, 4, 2, blocks[UpperOffset..]);
            for (var sub = 0; sub < Scales; sub++)
            {
                blocks[ScalesOffset + sub] = (byte)scales[sub];
            }

            Rounding.WriteHalf(blocks[FactorOffset..], factor);
        }
    }

    public void Dequantize(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; !values.IsEmpty; values = values[SubBlocks.Count..], blocks = blocks[BlockBytes..])
        {
            var factor = Rounding.ReadHalf(blocks[FactorOffset..]);
            for (var i = 0; i < SubBlocks.Count; i++)
            {
                // 128 values share 64 bytes of lower bits and 32 bytes of upper bits.
                var (half, inside) = (i / 128, i % 128);
                var lower = (blocks[(half * 64) + (inside % 64)] >> (inside / 64 * 4)) & 0xF;
                var upper = (blocks[UpperOffset + (half * 32) + (inside % 32)] >> (inside / 32 * 2)) & 3;
                values[i] = factor * (sbyte)blocks[ScalesOffset + (i / SubBlock)] * ((lower | (upper << 4)) - Zero);
            }
        }
    }

    private static void PackLower(ReadOnlySpan<byte> codes, Span<byte> target)
    {
        const int Run = 32;
        var mask = Vector256.Create((byte)0xF);
        for (var half = 0; half < 2; half++)
        {
            for (var run = 0; run < 2; run++)
            {
                var first = Vector256.Create(codes[(((half * 4) + run) * Run)..]) & mask;
                var second = Vector256.Create(codes[(((half * 4) + run + 2) * Run)..]) << 4;
                (first | second).CopyTo(target[(((half * 2) + run) * Run)..]);
            }
        }
    }
}
