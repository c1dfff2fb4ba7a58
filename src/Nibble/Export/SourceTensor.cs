using Nibble.Files;

namespace Nibble.Export;

/// <summary>Reads consecutive values of a tensor, row by row.</summary>
/// <param name="start">The first of them.</param>
/// <param name="values">Receives them.</param>
internal delegate void TensorReader(long start, Span<float> values);

/// <summary>A float tensor of a model.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Shape">Its shape.</param>
/// <param name="StoredAs">The element type it is stored in.</param>
/// <param name="Read">Reads its values, row by row.</param>
/// <param name="ReadPart">Reads some of them: not all of a large tensor needs to be in memory.</param>
internal sealed record SourceTensor(string Name, long[] Shape, ElementType StoredAs, Func<float[]> Read, TensorReader ReadPart)
{
    public SourceTensor(string name, long[] shape, ElementType storedAs, Func<float[]> read)
        : this(name, shape, storedAs, read, (start, values) => read().AsSpan((int)start, values.Length).CopyTo(values))
    {
    }
}
