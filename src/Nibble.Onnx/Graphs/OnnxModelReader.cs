using Google.Protobuf;

namespace Nibble.Onnx.Graphs;

/// <summary>Reads whole models, with the tensors that files next to them hold.</summary>
internal static class OnnxModelReader
{
    /// <summary>Reads a model into a graph that can be edited.</summary>
    /// <remarks>Constants that are also listed as inputs, as files of IR version 3 do, are no inputs of the graph that is returned: an engine would not treat
    /// them as constants. Sparse constants become dense. Nodes are ordered so that each comes after those whose outputs it reads.</remarks>
    /// <param name="path">The ONNX file.</param>
    /// <exception cref="NibbleException">The file is missing or not valid. The message explains why.</exception>
    public static OnnxGraph Read(string path) => Read(OnnxFile.Open(path));

    /// <summary>Reads a model into a graph that can be edited.</summary>
    /// <inheritdoc cref="Read(string)"/>
    /// <param name="file">The opened file, whose model becomes that of the graph.</param>
    internal static OnnxGraph Read(OnnxFile file)
    {
        var model = file.Model;
        var sparse = model.Graphs().SelectMany(graph => graph.SparseInitializer)
            .Concat(model.Attributes().SelectMany(
                attribute => attribute.SparseTensor is { } tensor ? attribute.SparseTensors.Prepend(tensor) : attribute.SparseTensors))
            .SelectMany(tensor => (TensorProto?[])[tensor.Values, tensor.Indices]).OfType<TensorProto>();
        foreach (var tensor in model.Tensors().Concat(sparse).ToList())
        {
            Load(file, tensor);
        }

        try
        {
            Densify(model);
            foreach (var tensor in model.Tensors())
            {
                tensor.RequireValues();
            }

            foreach (var graph in model.Graphs())
            {
                RemoveConstantInputs(graph);
            }

            // Below IR version 4, every constant must be an input.
            model.IrVersion = Math.Max(model.IrVersion, 4);
            var result = new OnnxGraph(model);
            result.RequireValues();
            result.Sort();
            return result;
        }
        catch (NibbleException exception)
        {
            throw new NibbleException($"{file.Path} is not a valid ONNX model: {exception.Message}", exception);
        }
    }

    private static void Load(OnnxFile file, TensorProto tensor)
    {
        if (tensor.DataLocation == TensorProto.Types.DataLocation.External)
        {
            tensor.RawData = UnsafeByteOperations.UnsafeWrap(file.ExternalBytes(tensor));
            tensor.ClearDataLocation();
            tensor.ExternalData.Clear();
        }

        file.Require(tensor);
    }

    private static void Densify(ModelProto model)
    {
        foreach (var graph in model.Graphs())
        {
            graph.Initializer.AddRange(graph.SparseInitializer.Select(SparseTensors.Dense));
            graph.SparseInitializer.Clear();
        }

        foreach (var node in model.Nodes().Where(node => node.OpType == "Constant" && node.IsStandard()))
        {
            if (node.Attribute("sparse_value") is { SparseTensor: { } tensor } attribute)
            {
                node.Attribute.Remove(attribute);
                node.Attribute.Add(new AttributeProto { Name = "value", Type = AttributeProto.Types.AttributeType.Tensor, T = SparseTensors.Dense(tensor) });
            }
        }
    }

    private static void RemoveConstantInputs(GraphProto graph)
    {
        var constants = graph.Initializer.Select(tensor => tensor.Name).ToHashSet(StringComparer.Ordinal);
        foreach (var input in graph.Input.Where(input => constants.Contains(input.Name)).ToList())
        {
            graph.Input.Remove(input);
        }
    }
}
