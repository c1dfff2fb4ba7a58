using Nibble.Files;

namespace Nibble.Formats.Safetensors;

/// <summary>A tensor in a safetensors file.</summary>
/// <param name="Name">The tensor's name.</param>
/// <param name="ElementType">How its elements are stored.</param>
/// <param name="Shape">Its shape; empty for a scalar.</param>
/// <param name="Offset">The position of the tensor's first byte in the file.</param>
/// <param name="ByteLength">The tensor's size in bytes.</param>
public sealed record SafetensorsEntry(string Name, ElementType ElementType, IReadOnlyList<long> Shape, long Offset, long ByteLength)
{
    /// <summary>The number of elements.</summary>
    public long Count => ByteLength / ElementType.ByteSize();
}
