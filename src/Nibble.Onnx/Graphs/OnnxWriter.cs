using Nibble.Files;
using System.Globalization;
using Google.Protobuf;

namespace Nibble.Onnx.Graphs;

/// <summary>Writes ONNX files. Equal graphs give equal bytes.</summary>
/// <remarks>
/// A protobuf message cannot hold 2 GB. A model above a threshold therefore keeps its tensors in a second file next to it, <c>NAME.onnx.data</c>, as "external
/// data" (https://github.com/onnx/onnx/blob/main/docs/ExternalData.md): each tensor by its offset and length, aligned so that engines can map it. Small
/// tensors, for example shapes, stay in the model, where engines look for them during planning.
/// </remarks>
internal static class OnnxWriter
{
    /// <summary>
    /// The maximum size in bytes of tensors in the model's file. The limit of protobuf is 2^31 - 1, and the graph needs space too.
    /// </summary>
    public const long InlineLimit = 2_000_000_000;

    private const int SmallTensor = 1024;

    // Windows maps at multiples of 64 KiB, other systems at 4 KiB.
    private const int Alignment = 1 << 16;

    /// <summary>The file that holds the tensors of a large model.</summary>
    public static string DataPath(string path) => path + ".data";

    /// <summary>The size of a model in bytes, with its tensor file.</summary>
    public static long BytesOf(string path) => new FileInfo(path).Length + (File.Exists(DataPath(path)) ? new FileInfo(DataPath(path)).Length : 0);

    /// <summary>The size in bytes that a model has once it is written, with its tensor file.</summary>
    /// <param name="model">The model, which holds its constants.</param>
    public static long BytesOf(ModelProto model)
    {
        ArgumentNullException.ThrowIfNull(model);
        var tensors = model.Graph.Initializer.Where(tensor => tensor.HasRawData).ToList();
        if (tensors.Sum(tensor => (long)tensor.RawData.Length) <= InlineLimit)
        {
            return model.CalculateSize();
        }

        var rest = model.Clone();
        foreach (var tensor in rest.Graph.Initializer)
        {
            tensor.ClearRawData();
        }

        return rest.CalculateSize() + tensors.Sum(tensor => (tensor.RawData.Length + Alignment - 1L) / Alignment * Alignment);
    }

    /// <summary>Writes a model. The file appears only when it is complete, after its tensor file.</summary>
    /// <param name="path">The file to write. Neither this file nor its tensor file may exist.</param>
    /// <param name="model">The model, whose graph has no initializers yet. They are added.</param>
    /// <param name="initializers">The graph's constants.</param>
    /// <param name="inlineLimit">The maximum size in bytes of tensors in the model's file.</param>
    /// <returns>The total size of the written files in bytes.</returns>
    /// <exception cref="ArgumentException">A tensor writes more or fewer bytes than its shape requires.</exception>
    /// <exception cref="IOException">There is not enough disk space for the files.</exception>
    /// <exception cref="NibbleException">A file exists.</exception>
    public static long Write(string path, ModelProto model, IReadOnlyList<OnnxInitializer> initializers, long inlineLimit = InlineLimit)
    {
        DiskSpace.Require(path, initializers.Sum(tensor => tensor.ByteLength), "the model");
        var external = initializers.Sum(tensor => tensor.ByteLength) > inlineLimit ? initializers.Where(tensor => tensor.ByteLength >= SmallTensor).ToList()
            : [];
        var offsets = external.Count > 0 ? WriteData(DataPath(path), external) : [];
        AtomicFile.Write(path, stream => WriteModel(stream, model, initializers, tensor => Describe(tensor, path, offsets)), replace: false);
        return new FileInfo(path).Length + (external.Count > 0 ? new FileInfo(DataPath(path)).Length : 0);
    }

    /// <summary>Writes a model that holds its constants. Large ones go into the tensor file if the model would be too large for one file.</summary>
    /// <param name="path">The file to write. Neither this file nor its tensor file may exist.</param>
    /// <param name="model">The model. It is not changed.</param>
    /// <param name="inlineLimit">The maximum size in bytes of tensors in the model's file.</param>
    /// <returns>The total size of the written files in bytes.</returns>
    /// <exception cref="IOException">There is not enough disk space for the files.</exception>
    /// <exception cref="NibbleException">A file exists.</exception>
    public static long Write(string path, ModelProto model, long inlineLimit = InlineLimit)
    {
        ArgumentNullException.ThrowIfNull(model);
        if (model.Graph.Initializer.Sum(tensor => (long)tensor.RawData.Length) <= inlineLimit)
        {
            DiskSpace.Require(path, model.CalculateSize(), "the model");
            AtomicFile.Write(path, model.WriteTo, replace: false);
            return new FileInfo(path).Length;
        }

        var (external, rest) = (new List<OnnxInitializer>(), new List<TensorProto>());
        foreach (var tensor in model.Graph.Initializer)
        {
            if (tensor.HasRawData)
            {
                external.Add(new OnnxInitializer(tensor.Name, tensor.Element(), [.. tensor.Dims], tensor.RawData.WriteTo));
            }
            else
            {
                rest.Add(tensor);
            }
        }

        var outside = model.Clone();
        outside.Graph.Initializer.Clear();
        outside.Graph.Initializer.AddRange(rest);
        return Write(path, outside, external, inlineLimit);
    }

    /// <summary>A constant without its values: those of the tensor file by their place.</summary>
    private static TensorProto Describe(OnnxInitializer tensor, string path, Dictionary<string, long> offsets)
    {
        var proto = new TensorProto { Name = tensor.Name, DataType = (int)tensor.Type, Dims = { tensor.Shape } };
        if (offsets.TryGetValue(tensor.Name, out var offset))
        {
            proto.DataLocation = TensorProto.Types.DataLocation.External;
            proto.ExternalData.Add(new StringStringEntryProto { Key = "location", Value = Path.GetFileName(DataPath(path)) });
            proto.ExternalData.Add(new StringStringEntryProto { Key = "offset", Value = offset.ToString(CultureInfo.InvariantCulture) });
            proto.ExternalData.Add(new StringStringEntryProto { Key = "length", Value = tensor.ByteLength.ToString(CultureInfo.InvariantCulture) });
        }

        return proto;
    }

    /// <summary>Writes the bytes that the message with its constants would have, one constant at a time, so that one has to be in memory.</summary>
    /// <remarks>
    /// Fields are in the order of their numbers, as generated code writes them
    /// (https://protobuf.dev/programming-guides/encoding). A message inside another has its length before it.
    /// </remarks>
    private static void WriteModel(Stream stream, ModelProto model, IReadOnlyList<OnnxInitializer> initializers, Func<OnnxInitializer, TensorProto> describe)
    {
        var graph = model.Graph;
        (byte[] Before, byte[] After) outside, inside;
        try
        {
            model.Graph = null;
            outside = Split(model.ToByteArray(), ModelProto.GraphFieldNumber);
            inside = Split(graph.ToByteArray(), GraphProto.InitializerFieldNumber);
        }
        finally
        {
            model.Graph = graph;
        }

        var tensors = initializers.Select(tensor =>
        {
            var proto = describe(tensor);
            var (before, after) = Split(proto.ToByteArray(), TensorProto.RawDataFieldNumber);
            var (held, count) = (proto.DataLocation != TensorProto.Types.DataLocation.External, tensor.ByteLength);
            var size = before.Length + after.Length + (held ? HeadLength(TensorProto.RawDataFieldNumber, count) + count : 0);
            return (Tensor: tensor, before, after, held, size);
        }).ToList();
        var length = inside.Before.Length + inside.After.Length
            + tensors.Sum(tensor => HeadLength(GraphProto.InitializerFieldNumber, tensor.size) + tensor.size);
        stream.Write(outside.Before);
        WriteHead(stream, ModelProto.GraphFieldNumber, length);
        stream.Write(inside.Before);
        foreach (var (tensor, before, after, held, size) in tensors)
        {
            WriteHead(stream, GraphProto.InitializerFieldNumber, size);
            stream.Write(before);
            if (held)
            {
                WriteHead(stream, TensorProto.RawDataFieldNumber, tensor.ByteLength);
                WriteTensor(tensor, stream);
            }

            stream.Write(after);
        }

        stream.Write(inside.After);
        stream.Write(outside.After);
    }

    /// <summary>The bytes of a message before and after the place of a field that it lacks.</summary>
    private static (byte[] Before, byte[] After) Split(byte[] message, int field)
    {
        var input = new CodedInputStream(message);
        var place = 0;
        while (input.ReadTag() is not 0 and var tag && WireFormat.GetTagFieldNumber(tag) < field)
        {
            input.SkipLastField();
            place = (int)input.Position;
        }

        return (message[..place], message[place..]);
    }

    private static int HeadLength(int field, long length) =>
        CodedOutputStream.ComputeTagSize(field) + CodedOutputStream.ComputeUInt64Size((ulong)length);

    private static void WriteHead(Stream stream, int field, long length)
    {
        var head = new CodedOutputStream(stream, leaveOpen: true);
        head.WriteTag(field, WireFormat.WireType.LengthDelimited);
        head.WriteUInt64((ulong)length);
        head.Flush();
    }

    private static Dictionary<string, long> WriteData(string path, IReadOnlyList<OnnxInitializer> tensors)
    {
        var offsets = new Dictionary<string, long>(StringComparer.Ordinal);
        AtomicFile.Write(path, stream =>
        {
            foreach (var tensor in tensors)
            {
                var padding = new byte[(Alignment - (stream.Position % Alignment)) % Alignment];
                stream.Write(padding);
                offsets[tensor.Name] = stream.Position;
                WriteTensor(tensor, stream);
            }
        }, replace: false);
        return offsets;
    }

    private static void WriteTensor(OnnxInitializer tensor, Stream stream)
    {
        var end = stream.Position + tensor.ByteLength;
        tensor.Write(stream);
        if (stream.Position != end)
        {
            throw new ArgumentException($"Tensor {tensor.Name} wrote {stream.Position - end + tensor.ByteLength} bytes, expected {tensor.ByteLength}.");
        }
    }
}
