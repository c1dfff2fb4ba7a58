namespace Nibble.Onnx.Graphs;

/// <summary>A constant tensor of a graph.</summary>
/// <param name="Name">Its name, unique in the graph.</param>
/// <param name="Type">The type of its elements.</param>
/// <param name="Shape">Its shape. Empty for a scalar.</param>
/// <param name="Write">Writes exactly the tensor's bytes, little-endian and in row-major order. Called when the tensor is written.</param>
internal sealed record OnnxInitializer(string Name, OnnxType Type, IReadOnlyList<long> Shape, Action<Stream> Write)
{
    /// <summary>The size of its elements in bytes.</summary>
    public long ByteLength => Shape.Aggregate((long)Type.ByteSize(), (product, size) => checked(product * size));
}
