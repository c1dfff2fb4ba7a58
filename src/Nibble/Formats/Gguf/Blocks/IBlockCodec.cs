using Nibble.Files;

namespace Nibble.Formats.Gguf.Blocks;

/// <summary>Quantizes values into blocks of one type, and dequantizes them.</summary>
/// <remarks>
/// The formulas follow ggml-org/ggml, <c>src/ggml-quants.c</c> (<c>quantize_row_*_ref</c>, <c>dequantize_row_*</c>), operation by operation, so that ggml's
/// quantizer writes the same bytes.
/// </remarks>
internal interface IBlockCodec
{
    /// <summary>The type of the blocks.</summary>
    GgufType Type { get; }

    /// <summary>Quantizes values.</summary>
    /// <param name="values">Finite values that fill whole blocks.</param>
    /// <param name="blocks">Receives the blocks.</param>
    void Quantize(ReadOnlySpan<float> values, Span<byte> blocks);

    /// <summary>Dequantizes blocks.</summary>
    /// <param name="blocks">Whole blocks.</param>
    /// <param name="values">Receives the values.</param>
    void Dequantize(ReadOnlySpan<byte> blocks, Span<float> values);
}
