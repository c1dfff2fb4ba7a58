using Nibble.Files;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>Q3_K: 16 sub-blocks of 16 values with 6-bit scales, <c>value = d * (scale - 32) * (code - 4)</c>.</summary>
/// <remarks>
/// Layout: ggml-org/ggml, <c>src/ggml-common.h</c>, <c>block_q3_K</c>. The third bits of the codes are stored separately. Twelve bytes hold the scales.
/// Byte <c>i</c> of the first eight holds the lower four bits of scales <c>i</c> and <c>i + 8</c>. Byte <c>i</c> of the other four holds the upper two bits
/// of scales <c>i</c>, <c>i + 4</c>, <c>i + 8</c> and <c>i + 12</c>. <see cref="SymmetricSearch"/> finds the codes.
/// </remarks>
internal sealed class ThreeBitCodec : IWeightedCodec
{
    private const int SubBlock = 16;
    private const int Scales = SubBlocks.Count / SubBlock;
    private const int BlockBytes = 110;
    private const int LowerOffset = 32;
    private const int ScalesOffset = 96;
    private const int UpperScalesOffset = ScalesOffset + 8;
    private const int FactorOffset = 108;
    private const int Zero = 4;
    private const int ZeroScale = 32;

    /// <summary>The grid of a block.</summary>
    public static SymmetricGrid Grid { get; } = new(Zero, ZeroScale, new ScaleTries(First: -1.5f, Step: 0.3f, Tries: 10));

    public GgufType Type => GgufType.Q3_K;

    public void Quantize(ReadOnlySpan<float> values, Span<byte> blocks) => Quantize(values, [], blocks);

    public void Quantize(ReadOnlySpan<float> values, ReadOnlySpan<float> weights, Span<byte> blocks)
    {
        Span<sbyte> scales = stackalloc sbyte[Scales];
        Span<byte> codes = stackalloc byte[SubBlocks.Count];
        for (var i = 0; i < values.Length; i += SubBlocks.Count, blocks = blocks[BlockBytes..])
        {
            var factor = SymmetricSearch.Run(values.Slice(i, SubBlocks.Count), weights.IsEmpty ? [] : weights.Slice(i, SubBlocks.Count), Grid, scales, codes);
            RunCodes.Pack(codes, 2, 1, blocks);
            RunCodes.Pack(codes, 0, 2, blocks[LowerOffset..]);
            blocks[ScalesOffset..FactorOffset].Clear();
            for (var sub = 0; sub < Scales; sub++)
            {
                var scale = scales[sub] + ZeroScale;
                blocks[ScalesOffset + (sub % 8)] |= (byte)((scale & 0xF) << (sub / 8 * 4));
                blocks[UpperScalesOffset + (sub % 4)] |= (byte)((scale >> 4) << (sub / 4 * 2));
            }

            Rounding.WriteHalf(blocks[FactorOffset..], factor);
        }
    }

    public void Dequantize(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        Span<byte> codes = stackalloc byte[SubBlocks.Count];
        for (; !values.IsEmpty; values = values[SubBlocks.Count..], blocks = blocks[BlockBytes..])
        {
            var factor = Rounding.ReadHalf(blocks[FactorOffset..]);
            codes.Clear();
            RunCodes.Unpack(blocks, 2, 1, codes);
            RunCodes.Unpack(blocks[LowerOffset..], 0, 2, codes);
            for (var sub = 0; sub < Scales; sub++)
            {
                var lower = (blocks[ScalesOffset + (sub % 8)] >> (sub / 8 * 4)) & 0xF;
                var upper = (blocks[UpperScalesOffset + (sub % 4)] >> (sub / 4 * 2)) & 3;
                var scale = factor * ((lower | (upper << 4)) - ZeroScale);
                for (var i = sub * SubBlock; i < (sub + 1) * SubBlock; i++)
                {
                    values[i] = scale * (codes[i] - Zero);
                }
            }
        }
    }
}
