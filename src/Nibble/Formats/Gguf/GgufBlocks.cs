using Nibble.Formats.Gguf.Blocks;

namespace Nibble.Formats.Gguf;

/// <summary>Rounds values into the blocks of a type.</summary>
public static class GgufBlocks
{
    /// <summary>The blocks that hold some values.</summary>
    /// <param name="type">A type of real numbers.</param>
    /// <param name="values">Finite values of whole blocks.</param>
    /// <exception cref="ArgumentException">The values are not whole blocks.</exception>
    public static byte[] Quantize(GgufType type, ReadOnlySpan<float> values)
    {
        if (values.Length % type.BlockSize() != 0)
        {
            throw new ArgumentException($"{values.Length} values are not whole blocks of {type}, which have {type.BlockSize()}.", nameof(values));
        }

        var blocks = new byte[values.Length / type.BlockSize() * type.BlockBytes()];
        BlockCodecs.For(type).Quantize(values, blocks);
        return blocks;
    }
}
