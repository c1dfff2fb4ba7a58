namespace Nibble.Formats.Gguf.Blocks;

/// <summary>A codec that can give some values more precision than others.</summary>
internal interface IWeightedCodec : IBlockCodec
{
    /// <summary>Quantizes values with a low weighted squared error.</summary>
    /// <param name="values">Finite values that fill whole blocks.</param>
    /// <param name="weights">The weight of each value's squared error, finite and above 0.</param>
    /// <param name="blocks">Receives the blocks.</param>
    void Quantize(ReadOnlySpan<float> values, ReadOnlySpan<float> weights, Span<byte> blocks);
}
