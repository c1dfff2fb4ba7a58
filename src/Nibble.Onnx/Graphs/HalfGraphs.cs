using System.Runtime.InteropServices;
using Google.Protobuf;

namespace Nibble.Onnx.Graphs;

/// <summary>Makes models that compute with float16 or bfloat16 compute with float32, which integer kernels require.</summary>
internal static class HalfGraphs
{
    /// <summary>Widens all values. Inputs and outputs keep their types: the graph converts them.</summary>
    /// <param name="graph">The model, which is changed.</param>
    /// <returns>The graph of the changed model. The same one if it has no such values.</returns>
    /// <exception cref="NibbleException">A constant does not hold what its shape requires.</exception>
    public static OnnxGraph Widen(OnnxGraph graph)
    {
        ArgumentNullException.ThrowIfNull(graph);
        var model = graph.Model;
        var inputs = graph.Inputs.Where(value => TensorType.Of(value) is { } type && IsHalf(type.Element)).ToList();
        var outputs = graph.Proto.Output.Where(value => TensorType.Of(value) is { } type && IsHalf(type.Element)).ToList();
        var isChanged = false;
        foreach (var tensor in model.Tensors().Where(tensor => IsHalf(tensor.Element())))
        {
            Widen(tensor);
            isChanged = true;
        }

        foreach (var attribute in model.Nodes().Where(ModelContents.IsStandard).SelectMany(node => node.Attribute)
            .Where(attribute => attribute.Name is "to" or "dtype" && IsHalf((OnnxType)attribute.I)))
        {
            attribute.I = (long)OnnxType.Float32;
            isChanged = true;
        }

        foreach (var type in model.Values().Except(inputs).Except(outputs).Select(value => value.Type)
            .Concat(model.Attributes().SelectMany(attribute => attribute.TypeProtos.Prepend(attribute.Tp))))
        {
            isChanged |= Widen(type);
        }

        if (!isChanged && inputs.Count + outputs.Count == 0)
        {
            return graph;
        }

        var widened = new OnnxGraph(model);
        foreach (var input in inputs)
        {
            WidenInput(widened, input);
        }

        foreach (var output in outputs)
        {
            NarrowOutput(widened, output);
        }

        widened.Sort();
        return widened;
    }

    private static void WidenInput(OnnxGraph graph, ValueInfoProto input)
    {
        var consumers = graph.Consumers(input.Name);
        if (consumers.Count > 0)
        {
            var widened = graph.AddNode(
                string.Empty, "Cast", $"{input.Name}/float32", [input.Name], NodeAttributes.Make("to", (long)OnnxType.Float32));
            graph.SetType(widened, new TensorType(OnnxType.Float32, TensorType.Of(input)!.Shape));
            graph.Redirect(input.Name, widened, consumers);
        }
    }

    private static void NarrowOutput(OnnxGraph graph, ValueInfoProto output)
    {
        var type = TensorType.Of(output)!;
        var computed = $"{output.Name}/float32";
        if (graph.Producer(output.Name) is not null)
        {
            var consumers = graph.Consumers(output.Name);
            computed = graph.RenameOutput(output.Name, computed);
            graph.SetType(computed, type with { Element = OnnxType.Float32 });
            graph.Redirect(output.Name, computed, consumers);
        }
        else if (graph.Constant(output.Name) is not null)
        {
            computed = graph.RenameConstant(output.Name, computed);
        }
        else
        {
            // An input that is passed on.
            return;
        }

        graph.AddNodeFor(output.Name, "Cast", [computed], NodeAttributes.Make("to", (long)type.Element));
    }

    private static void Widen(TensorProto tensor)
    {
        var values = tensor.Floats();
        tensor.Int32Data.Clear();
        tensor.DataType = (int)OnnxType.Float32;
        tensor.RawData = ByteString.CopyFrom(MemoryMarshal.AsBytes(values.AsSpan()));
    }

    /// <summary>Widens a type, or that of the elements of a sequence or a map.</summary>
    /// <returns>Whether it was narrower.</returns>
    private static bool Widen(TypeProto? type)
    {
        switch (type?.ValueCase)
        {
            case TypeProto.ValueOneofCase.TensorType when IsHalf((OnnxType)type.TensorType.ElemType):
                type.TensorType.ElemType = (int)OnnxType.Float32;
                return true;
            case TypeProto.ValueOneofCase.SequenceType:
                return Widen(type.SequenceType.ElemType);
            case TypeProto.ValueOneofCase.OptionalType:
                return Widen(type.OptionalType.ElemType);
            case TypeProto.ValueOneofCase.MapType:
                return Widen(type.MapType.ValueType);
            default:
                return false;
        }
    }

    private static bool IsHalf(OnnxType type) => type is OnnxType.Float16 or OnnxType.BFloat16;
}
