using Nibble.Files;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>The codecs of all types that hold real numbers.</summary>
internal static class BlockCodecs
{
    private static readonly IBlockCodec[] All =
    [
        new FloatCodec(GgufType.F32, ElementType.F32),
        new FloatCodec(GgufType.F16, ElementType.F16),
        new FloatCodec(GgufType.BF16, ElementType.BF16),
        new SignedCodec(GgufType.Q4_0, bits: 4),
        new AffineCodec(GgufType.Q4_1, bits: 4),
        new SignedCodec(GgufType.Q5_0, bits: 5),
        new AffineCodec(GgufType.Q5_1, bits: 5),
        new ByteCodec(),
        new TwoBitCodec(),
        new ThreeBitCodec(),
        new FourFiveBitCodec(GgufType.Q4_K, bits: 4),
        new FourFiveBitCodec(GgufType.Q5_K, bits: 5),
        new SixBitCodec(),
        new TernaryCodec(GgufType.TQ1_0),
        new TernaryCodec(GgufType.TQ2_0),
        new MicroscalingCodec(),
    ];

    /// <summary>The types that have a codec.</summary>
    public static IEnumerable<GgufType> Types => All.Select(codec => codec.Type);

    /// <summary>The codec of a type; null if there is none.</summary>
    public static IBlockCodec? Find(GgufType type) => Array.Find(All, codec => codec.Type == type);

    /// <summary>The codec of a type that must have one.</summary>
    public static IBlockCodec For(GgufType type) => Find(type) ?? throw new ArgumentOutOfRangeException(nameof(type), type, "No codec.");
}
