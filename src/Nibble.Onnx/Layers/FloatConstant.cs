using Nibble.Export;
using Nibble.Files;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Layers;

/// <summary>A float tensor of a model as a constant of its graph, in its stored type.</summary>
internal sealed class FloatConstant
{
    private const string TransposedName = ".transposed";
    private const int PartValues = 1 << 20;

    // Engines and checkpoints store floats in these types.
    private static readonly (ElementType Stored, OnnxType Type)[] Types = [
        (ElementType.F32, OnnxType.Float32), (ElementType.F16, OnnxType.Float16), (ElementType.BF16, OnnxType.BFloat16)];

    private readonly GraphBuilder graph;
    private readonly OnnxType type;

    /// <summary>Adds the tensor to the graph under its own name.</summary>
    public FloatConstant(GraphBuilder graph, SourceTensor tensor)
        : this(graph, tensor.Name, tensor, tensor.Shape, stream => WriteParts(tensor, stream))
    {
    }

    private FloatConstant(GraphBuilder graph, string name, SourceTensor tensor, long[] shape, Action<Stream> write)
    {
        this.graph = graph;
        type = Types.First(entry => entry.Stored == tensor.StoredAs).Type;
        Name = graph.Initializer(name, type, shape, write);
    }

    /// <summary>The constant's name.</summary>
    public string Name { get; }

    /// <summary>A matrix [out, in] as the right factor of a product, [in, out].</summary>
    public static FloatConstant Transposed(GraphBuilder graph, SourceTensor tensor) => new(
        graph, tensor.Name + TransposedName, tensor, [tensor.Shape[1], tensor.Shape[0]],
        stream => tensor.StoredAs.Write(Matrices.Transpose<float>(tensor.Read(), (int)tensor.Shape[0], (int)tensor.Shape[1]), stream));

    /// <summary>Reads a tensor back from its constant. Returns null if there is none.</summary>
    /// <exception cref="NibbleException">The constant does not have a float type, or a transposed one is not a matrix.</exception>
    public static SourceTensor? Read(OnnxFile file, string name)
    {
        var transposed = file.Find(name) is null;
        if (file.Find(transposed ? name + TransposedName : name) is not { } constant)
        {
            return null;
        }

        var stored = Types.FirstOrDefault(entry => constant.Type.Equals(entry.Type.Name(), StringComparison.Ordinal));
        if (stored.Type == default)
        {
            throw file.Refused($"tensor '{constant.Name}' has type {constant.Type}, expected {string.Join(", ", Types.Select(entry => entry.Type.Name()))}");
        }

        if (!transposed)
        {
            return new SourceTensor(name, [.. constant.Shape], stored.Stored, Values, Part);
        }

        return constant.Shape is [var columns, var rows]
            ? new SourceTensor(name, [rows, columns], stored.Stored, () => Matrices.Transpose<float>(Values(), (int)columns, (int)rows))
            : throw file.Refused($"tensor '{constant.Name}' has {constant.Shape.Count} axes, expected 2");

        void Part(long start, Span<float> values)
        {
            var size = stored.Stored.ByteSize();
            var bytes = file.Bytes(constant.Name, stored.Type, [.. constant.Shape]).Span;
            stored.Stored.ToSingles(bytes.Slice((int)start * size, values.Length * size), values);
        }

        float[] Values()
        {
            var bytes = file.Bytes(constant.Name, stored.Type, [.. constant.Shape]).Span;
            var values = new float[bytes.Length / stored.Stored.ByteSize()];
            stored.Stored.ToSingles(bytes, values);
            return values;
        }
    }

    /// <summary>Writes a tensor a part at a time: an embedding table can be the largest tensor of a model.</summary>
    private static void WriteParts(SourceTensor tensor, Stream stream)
    {
        var count = tensor.Shape.Aggregate(1L, (product, size) => product * size);
        var values = new float[Math.Min(count, PartValues)];
        for (var start = 0L; start < count; start += values.Length)
        {
            var part = values.AsSpan(0, (int)Math.Min(values.Length, count - start));
            tensor.ReadPart(start, part);
            tensor.StoredAs.Write(part, stream);
        }
    }

    /// <summary>Converts values that come from the constant to float32, in which graphs compute.</summary>
    public string Widen(string value) => type == OnnxType.Float32 ? value : graph.Node("Cast", [value], ("to", (long)OnnxType.Float32));
}
