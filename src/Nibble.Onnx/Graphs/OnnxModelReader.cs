using Google.Protobuf;

namespace Nibble.Onnx.Graphs;

/// <summary>Reads whole models, with the tensors that files next to them hold.</summary>
internal static class OnnxModelReader
{
    /// <summary>Reads a model into a graph that can be edited.</summary>
    /// <remarks>Constants that are also listed as inputs, as files of IR version 3 do, are no inputs of the graph that is returned: an engine would not treat them as
    /// constants.</remarks>
    /// <param name="path">The ONNX file.</param>
    /// <exception cref="NibbleException">The file is missing or not valid. The message explains why.</exception>
    public static OnnxGraph Read(string path)
    {
        var file = OnnxFile.Open(path);
        foreach (var tensor in file.Model.Graph.Initializer.Where(tensor => tensor.DataLocation == TensorProto.Types.DataLocation.External))
        {
            var type = (OnnxType)tensor.DataType;
            tensor.RawData = UnsafeByteOperations.UnsafeWrap(file.Bytes(tensor.Name, type, [.. tensor.Dims]));
            tensor.ClearDataLocation();
            tensor.ExternalData.Clear();
        }

        var constants = file.Model.Graph.Initializer.Select(tensor => tensor.Name).ToHashSet(StringComparer.Ordinal);
        foreach (var input in file.Model.Graph.Input.Where(input => constants.Contains(input.Name)).ToList())
        {
            file.Model.Graph.Input.Remove(input);
        }

        // Below IR version 4, every constant must be an input.
        file.Model.IrVersion = Math.Max(file.Model.IrVersion, 4);
        return new OnnxGraph(file.Model);
    }
}
