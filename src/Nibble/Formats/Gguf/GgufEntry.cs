using Nibble.Files;

namespace Nibble.Formats.Gguf;

/// <summary>A tensor in a GGUF file.</summary>
/// <param name="Name">The tensor's name.</param>
/// <param name="Type">How its values are stored.</param>
/// <param name="Dimensions">One to four sizes, fastest first: a matrix has [columns, rows].</param>
/// <param name="Offset">The position of the tensor's first byte in the file.</param>
/// <param name="ByteLength">The tensor's size in bytes.</param>
internal sealed record GgufEntry(string Name, GgufType Type, IReadOnlyList<long> Dimensions, long Offset, long ByteLength)
{
    /// <summary>The number of values in a row: the first dimension.</summary>
    public long Columns => Dimensions[0];

    /// <summary>The number of rows: the product of the other dimensions.</summary>
    public long Rows => Dimensions.Skip(1).Aggregate(1L, (product, size) => product * size);
}
