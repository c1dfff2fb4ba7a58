using Nibble.Formats;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Layers;

/// <summary>A float tensor of a model as a constant of its graph, in the type that it is stored in.</summary>
internal sealed class FloatConstant
{
    private readonly GraphBuilder graph;
    private readonly OnnxType type;

    /// <summary>Adds the tensor to the graph under its own name.</summary>
    public FloatConstant(GraphBuilder graph, SourceTensor tensor)
        : this(graph, tensor.Name, tensor, tensor.Shape, values => values)
    {
    }

    private FloatConstant(GraphBuilder graph, string name, SourceTensor tensor, long[] shape, Func<float[], float[]> arrange)
    {
        this.graph = graph;
        type = tensor.StoredAs switch { ElementType.F16 => OnnxType.Float16, ElementType.BF16 => OnnxType.BFloat16, _ => OnnxType.Float32 };
        Name = graph.Initializer(name, type, shape, stream => stream.Write(tensor.StoredAs.ToBytes(arrange(tensor.Read()))));
    }

    /// <summary>The constant's name.</summary>
    public string Name { get; }

    /// <summary>A matrix [out, in] as the right factor of a product, [in, out].</summary>
    public static FloatConstant Transposed(GraphBuilder graph, SourceTensor tensor) => new(
        graph, tensor.Name + ".transposed", tensor, [tensor.Shape[1], tensor.Shape[0]], values => Matrices.Transpose<float>(values, (int)tensor.Shape[0], (int)tensor.Shape[1]));

    /// <summary>Values that come from the constant in float32, which is what graphs compute in.</summary>
    public string Widen(string value) => type == OnnxType.Float32 ? value : graph.Node("Cast", [value], ("to", (long)OnnxType.Float32));
}
