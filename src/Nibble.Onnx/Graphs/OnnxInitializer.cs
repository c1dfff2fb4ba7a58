namespace Nibble.Onnx.Graphs;

/// <summary>A constant tensor of a graph.</summary>
/// <param name="Name">Its name, unique in the graph.</param>
/// <param name="Type">How its elements are stored.</param>
/// <param name="Shape">Its shape; empty for a scalar.</param>
/// <param name="Write">Writes exactly the tensor's bytes, little-endian and row by row; called when its turn comes.</param>
internal sealed record OnnxInitializer(string Name, OnnxType Type, IReadOnlyList<long> Shape, Action<Stream> Write)
{
    /// <summary>Bytes of its elements.</summary>
    public long ByteLength => Shape.Aggregate((long)Type.ByteSize(), (product, size) => checked(product * size));
}
