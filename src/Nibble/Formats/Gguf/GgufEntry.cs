using Nibble.Files;

namespace Nibble.Formats.Gguf;

/// <summary>A tensor in a GGUF file.</summary>
/// <param name="Name">The tensor's name.</param>
/// <param name="Type">How its values are stored.</param>
/// <param name="Dimensions">Its sizes, one to four, the fastest first: a matrix has [columns, rows].</param>
/// <param name="Offset">The tensor's first byte, counted from the start of the file.</param>
/// <param name="ByteLength">The tensor's bytes.</param>
internal sealed record GgufEntry(string Name, GgufType Type, IReadOnlyList<long> Dimensions, long Offset, long ByteLength)
{
    /// <summary>Values in a row: the first dimension.</summary>
    public long Columns => Dimensions[0];

    /// <summary>Rows: the product of the other dimensions.</summary>
    public long Rows => Dimensions.Skip(1).Aggregate(1L, (product, size) => product * size);
}
