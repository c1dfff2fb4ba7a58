using Nibble.Files;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>TQ1_0 and TQ2_0: 256 ternary codes and a scale, <c>value = d * (code - 1)</c>.</summary>
/// <remarks>The scale is the largest magnitude. Values are rounded half away from zero.</remarks>
internal sealed class TernaryCodec(GgufType type) : IBlockCodec
{
    private readonly int codeBytes = type.BlockBytes() - 2;

    public GgufType Type => type;

    public void Quantize(ReadOnlySpan<float> values, Span<byte> blocks)
    {
        Span<byte> codes = stackalloc byte[TernaryCodes.Count];
        for (; !values.IsEmpty; values = values[TernaryCodes.Count..], blocks = blocks[type.BlockBytes()..])
        {
            var scale = 0f;
            foreach (var value in values[..TernaryCodes.Count])
            {
                scale = MathF.Max(scale, MathF.Abs(value));
            }

            var inverse = Rounding.Reciprocal(scale);
            for (var i = 0; i < TernaryCodes.Count; i++)
            {
                codes[i] = (byte)(Rounding.Truncate(Rounding.HalfAway(values[i] * inverse)) + 1);
            }

            TernaryCodes.Pack(codes, type, blocks);
            Rounding.WriteHalf(blocks[codeBytes..], scale);
        }
    }

    public void Dequantize(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        Span<byte> codes = stackalloc byte[TernaryCodes.Count];
        for (; !values.IsEmpty; values = values[TernaryCodes.Count..], blocks = blocks[type.BlockBytes()..])
        {
            TernaryCodes.Unpack(blocks, type, codes);
            var scale = Rounding.ReadHalf(blocks[codeBytes..]);
            for (var i = 0; i < TernaryCodes.Count; i++)
            {
                values[i] = (codes[i] - 1) * scale;
            }
        }
    }
}

/// <summary>How the 256 codes of a ternary block are packed.</summary>
/// <remarks>
/// TQ2_0: byte <c>m</c> of a run of 32 holds code <c>m + 32 n</c> of its 128 values in two bits from bit <c>2n</c> up. TQ1_0: a byte holds five codes as
/// the digits of a base-3 number, scaled to 256 so that multiplying by 3 carries out one digit at a time. Runs of 32, 16 and 4 bytes hold 160, 80 and 16
/// values. The last run holds four codes per byte.
/// </remarks>
internal static class TernaryCodes
{
    /// <summary>The number of codes in a block.</summary>
    public const int Count = 256;

    private const int Powers = 243;
    private const int PairedRun = 32;
    private const int PairedDigits = 4;
    private static readonly (int Bytes, int Digits)[] Runs = [(32, 5), (16, 5), (4, 4)];

    /// <summary>Packs 256 codes, 0 to 2.</summary>
    public static void Pack(ReadOnlySpan<byte> codes, GgufType type, Span<byte> target)
    {
        if (type == GgufType.TQ2_0)
        {
            for (; !codes.IsEmpty; codes = codes[(PairedRun * PairedDigits)..], target = target[PairedRun..])
            {
                for (var i = 0; i < PairedRun; i++)
                {
                    target[i] = (byte)((codes[i] & 3) | (
                        (codes[i + PairedRun] & 3) << 2) | ((codes[i + (2 * PairedRun)] & 3) << 4) | ((codes[i + (3 * PairedRun)] & 3) << 6));
                }
            }

            return;
        }

        foreach (var (bytes, digits) in Runs)
        {
            for (var i = 0; i < bytes; i++)
            {
                var number = 0;
                for (var digit = 0; digit < 5; digit++)
                {
                    number = (number * 3) + (digit < digits ? codes[i + (digit * bytes)] : 0);
                }

                // Rounded up so that multiplication recovers the digits.
                target[i] = (byte)((((number & 0xFF) * 256) + Powers - 1) / Powers);
            }

            codes = codes[(bytes * digits)..];
            target = target[bytes..];
        }
    }

    /// <summary>Unpacks 256 codes.</summary>
    public static void Unpack(ReadOnlySpan<byte> source, GgufType type, Span<byte> codes)
    {
        if (type == GgufType.TQ2_0)
        {
            for (; !codes.IsEmpty; codes = codes[(PairedRun * PairedDigits)..], source = source[PairedRun..])
            {
                for (var i = 0; i < PairedRun * PairedDigits; i++)
                {
                    codes[i] = (byte)((source[i % PairedRun] >> (i / PairedRun * 2)) & 3);
                }
            }

            return;
        }

        foreach (var (bytes, digits) in Runs)
        {
            for (var i = 0; i < bytes; i++)
            {
                var rest = source[i];
                for (var digit = 0; digit < digits; digit++)
                {
                    codes[i + (digit * bytes)] = (byte)((rest * 3) >> 8);
                    rest = (byte)(rest * 3);
                }
            }

            codes = codes[(bytes * digits)..];
            source = source[bytes..];
        }
    }
}
