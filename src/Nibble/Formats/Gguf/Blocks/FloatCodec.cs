using Nibble.Files;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>Values stored individually as floating-point numbers, rounded half to even.</summary>
internal sealed class FloatCodec(GgufType type, ElementType element) : IBlockCodec
{
    public GgufType Type => type;

    public void Quantize(ReadOnlySpan<float> values, Span<byte> blocks) => element.ToBytes(values).CopyTo(blocks);

    public void Dequantize(ReadOnlySpan<byte> blocks, Span<float> values) => element.ToSingles(blocks, values);
}
