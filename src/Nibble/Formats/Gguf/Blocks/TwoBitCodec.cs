using Nibble.Files;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>Q2_K: 16 sub-blocks of 16 values with 4-bit scales and minimums, <c>value = d * scale * code - dmin * minimum</c>.</summary>
/// <remarks>Layout: ggml-org/ggml, <c>src/ggml-common.h</c>, <c>block_q2_K</c>. Each byte holds a scale in its lower half and a minimum in its upper half.
/// <see cref="AffineSearch"/> finds the codes.</remarks>
internal sealed class TwoBitCodec : IWeightedCodec
{
    private const int SubBlock = 16;
    private const int Scales = SubBlocks.Count / SubBlock;
    private const int BlockBytes = 84;
    private const int CodesOffset = 16;
    private const int FactorOffset = 80;
    private const int MinimumOffset = 82;

    /// <summary>The grid of a block.</summary>
    public static AffineGrid Grid { get; } = new(SubBlock, LastCode: 3, LastStep: 15, new ScaleTries(First: -1, Step: 0.15f, Tries: 15));

    public GgufType Type => GgufType.Q2_K;

    public void Quantize(ReadOnlySpan<float> values, Span<byte> blocks) => Quantize(values, [], blocks);

    public void Quantize(ReadOnlySpan<float> values, ReadOnlySpan<float> weights, Span<byte> blocks)
    {
        Span<byte> scales = stackalloc byte[Scales];
        Span<byte> minimums = stackalloc byte[Scales];
        Span<byte> codes = stackalloc byte[SubBlocks.Count];
        for (var i = 0; i < values.Length; i += SubBlocks.Count, blocks = blocks[BlockBytes..])
        {
            var (factor, minimum) = AffineSearch.Run(
                values.Slice(i, SubBlocks.Count), weights.IsEmpty ? [] : weights.Slice(i, SubBlocks.Count), Grid, scales, minimums, codes);
            for (var sub = 0; sub < Scales; sub++)
            {
                blocks[sub] = (byte)(scales[sub] | (minimums[sub] << 4));
            }

            RunCodes.Pack(codes, 0, 2, blocks[CodesOffset..]);
            Rounding.WriteHalf(blocks[FactorOffset..], factor);
            Rounding.WriteHalf(blocks[MinimumOffset..], minimum);
        }
    }

    public void Dequantize(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        Span<byte> codes = stackalloc byte[SubBlocks.Count];
        for (; !values.IsEmpty; values = values[SubBlocks.Count..], blocks = blocks[BlockBytes..])
        {
            var (factor, least) = (Rounding.ReadHalf(blocks[FactorOffset..]), Rounding.ReadHalf(blocks[MinimumOffset..]));
            codes.Clear();
            RunCodes.Unpack(blocks[CodesOffset..], 0, 2, codes);
            for (var sub = 0; sub < Scales; sub++)
            {
                var (scale, minimum) = (factor * (blocks[sub] & 0xF), least * (blocks[sub] >> 4));
                for (var i = sub * SubBlock; i < (sub + 1) * SubBlock; i++)
                {
                    values[i] = (scale * codes[i]) - minimum;
                }
            }
        }
    }
}
