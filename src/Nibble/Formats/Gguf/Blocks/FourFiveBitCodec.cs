using Nibble.Files;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>Q4_K and Q5_K: 8 sub-blocks of 32 values with 6-bit scales and minimums, <c>value = d * scale * code - dmin * minimum</c>.</summary>
/// <remarks>
/// Layout: ggml-org/ggml, <c>src/ggml-common.h</c>, <c>block_q4_K</c> and <c>block_q5_K</c>, which stores the fifth bits of the codes separately. Of the
/// twelve scale bytes, four hold scales 0 to 3 and four hold minimums 0 to 3 in their lower six bits. The upper two bits of these eight bytes are the upper
/// two bits of scales and minimums 4 to 7. The last four bytes hold the lower four bits of scales and minimums 4 to 7. <see cref="AffineSearch"/> finds the
/// codes.
/// </remarks>
internal sealed class FourFiveBitCodec(GgufType type, int bits) : IWeightedCodec
{
    private const int SubBlock = 32;
    private const int Scales = SubBlocks.Count / SubBlock;
    private const int MinimumOffset = 2;
    private const int ScalesOffset = 4;
    private const int CodesOffset = 16;
    private const int Quarter = 4;
    private readonly int blockBytes = type.BlockBytes();
    private readonly int lowerOffset = bits == 5 ? CodesOffset + 32 : CodesOffset;

    public GgufType Type => type;

    /// <summary>The grid of a block. At 5 bits, the same ranges have twice as many steps.</summary>
    public AffineGrid Grid { get; } =
        new(SubBlock, LastCode: (1 << bits) - 1, LastStep: 63,
            bits == 5 ? new ScaleTries(First: -4, Step: 0.4f, Tries: 13) : new ScaleTries(First: -2, Step: 0.2f, Tries: 16));

    public void Quantize(ReadOnlySpan<float> values, Span<byte> blocks) => Quantize(values, [], blocks);

    public void Quantize(ReadOnlySpan<float> values, ReadOnlySpan<float> weights, Span<byte> blocks)
    {
        Span<byte> scales = stackalloc byte[Scales];
        Span<byte> minimums = stackalloc byte[Scales];
        Span<byte> codes = stackalloc byte[SubBlocks.Count];
        for (var i = 0; i < values.Length; i += SubBlocks.Count, blocks = blocks[blockBytes..])
        {
            var (factor, minimum) = AffineSearch.Run(
                values.Slice(i, SubBlocks.Count), weights.IsEmpty ? [] : weights.Slice(i, SubBlocks.Count), Grid, scales, minimums, codes);
            Rounding.WriteHalf(blocks, factor);
            Rounding.WriteHalf(blocks[MinimumOffset..], minimum);
            PackScales(scales, minimums, blocks[ScalesOffset..CodesOffset]);
            RunCodes.Pack(codes, 0, 4, blocks[lowerOffset..]);
            if (bits == 5)
            {
                RunCodes.Pack(codes, 4, 1, blocks[CodesOffset..]);
            }
        }
    }

    public void Dequantize(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        Span<byte> codes = stackalloc byte[SubBlocks.Count];
        for (; !values.IsEmpty; values = values[SubBlocks.Count..], blocks = blocks[blockBytes..])
        {
            var (factor, least) = (Rounding.ReadHalf(blocks), Rounding.ReadHalf(blocks[MinimumOffset..]));
            codes.Clear();
            RunCodes.Unpack(blocks[lowerOffset..], 0, 4, codes);
            if (bits == 5)
            {
                RunCodes.Unpack(blocks[CodesOffset..], 4, 1, codes);
            }

            for (var sub = 0; sub < Scales; sub++)
            {
                var (steps, minimumSteps) = ScaleOf(blocks[ScalesOffset..CodesOffset], sub);
                var (scale, minimum) = (factor * steps, least * minimumSteps);
                for (var i = sub * SubBlock; i < (sub + 1) * SubBlock; i++)
                {
                    values[i] = (scale * codes[i]) - minimum;
                }
            }
        }
    }

    private static void PackScales(ReadOnlySpan<byte> scales, ReadOnlySpan<byte> minimums, Span<byte> target)
    {
        for (var i = 0; i < Quarter; i++)
        {
            target[i] = (byte)(scales[i] | (scales[i + Quarter] >> 4 << 6));
            target[i + Quarter] = (byte)(minimums[i] | (minimums[i + Quarter] >> 4 << 6));
            target[i + (2 * Quarter)] = (byte)((scales[i + Quarter] & 0xF) | (minimums[i + Quarter] << 4));
        }
    }

    private static (int Scale, int Minimum) ScaleOf(ReadOnlySpan<byte> source, int sub)
    {
        var i = sub % Quarter;
        var (scale, minimum, lower) = (source[i], source[i + Quarter], source[i + (2 * Quarter)]);
        return sub < Quarter ? (scale & 0x3F, minimum & 0x3F) : ((lower & 0xF) | (scale >> 6 << 4), (lower >> 4) | (minimum >> 6 << 4));
    }
}
