using Nibble.Files;

namespace Nibble.Export;

/// <summary>Reads consecutive values of a tensor, row by row.</summary>
/// <param name="start">The index of the first value.</param>
/// <param name="values">Receives the values.</param>
internal delegate void TensorReader(long start, Span<float> values);

/// <summary>A float tensor of a model.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Shape">Its shape.</param>
/// <param name="StoredAs">The element type it is stored in.</param>
/// <param name="Read">Reads its values, row by row.</param>
/// <param name="ReadPart">Reads some of its values, so that a large tensor need not be in memory as a whole.</param>
internal sealed record SourceTensor(string Name, long[] Shape, ElementType StoredAs, Func<float[]> Read, TensorReader ReadPart)
{
    public SourceTensor(string name, long[] shape, ElementType storedAs, Func<float[]> read)
        : this(name, shape, storedAs, read, (start, values) => read().AsSpan((int)start, values.Length).CopyTo(values))
    {
    }
}
