namespace Nibble.Formats.Gguf.Blocks;

/// <summary>A codec that can give some values more precision than others.</summary>
internal interface IWeightedCodec : IBlockCodec
{
    /// <summary>Quantizes values so that little of their weighted squared error is left.</summary>
    /// <param name="values">Finite values of whole blocks.</param>
    /// <param name="weights">How much the squared error of each counts, finite and above 0.</param>
    /// <param name="blocks">Receives the blocks.</param>
    void Quantize(ReadOnlySpan<float> values, ReadOnlySpan<float> weights, Span<byte> blocks);
}
