using Nibble.Files;
using System.Globalization;
using System.Runtime.InteropServices;
using Google.Protobuf;
using Nibble.Onnx.Graphs;
using IoPath = System.IO.Path;

namespace Nibble.Onnx;

/// <summary>A constant of a graph.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Type">Its element type, with its ONNX name, for example <c>FLOAT</c>.</param>
/// <param name="Shape">Its sizes. Empty for a scalar.</param>
/// <param name="Bytes">Its size in bytes. Null for strings.</param>
/// <param name="DataFile">The name of the file next to the model that holds its bytes. Null if the model itself does.</param>
internal sealed record OnnxTensor(string Name, string Type, IReadOnlyList<long> Shape, long? Bytes, string? DataFile);

/// <summary>An input or output of a graph.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Type">Its element type. Empty if it is not a tensor.</param>
/// <param name="Shape">Its sizes: numbers, or the names of sizes that a caller chooses. Names are empty if nothing is specified.</param>
internal sealed record OnnxValue(string Name, string Type, IReadOnlyList<string> Shape);

/// <summary>
/// The contents of an ONNX file. Its tensors are checked against the files that hold them, and read on request.
/// </summary>
/// <remarks>Definition: onnx/onnx, <c>onnx/onnx.proto</c> and <c>docs/ExternalData.md</c>. Only the graph of the
/// model is listed, without graphs inside nodes. <see cref="OnnxModelReader"/> reads those too.</remarks>
internal sealed class OnnxFile
{
    // Bits per element, by the values of TensorProto.DataType. 0 for strings.
    private static readonly (string Name, int Bits)[] Types =
    [
        ("UNDEFINED", 0), ("FLOAT", 32), ("UINT8", 8), ("INT8", 8), ("UINT16", 16), ("INT16", 16), ("INT32", 32), ("INT64", 64), ("STRING", 0), ("BOOL", 8),
        ("FLOAT16", 16), ("DOUBLE", 64),
        ("UINT32", 32), ("UINT64", 64), ("COMPLEX64", 64), ("COMPLEX128", 128), ("BFLOAT16", 16), ("FLOAT8E4M3FN", 8), ("FLOAT8E4M3FNUZ", 8), ("FLOAT8E5M2", 8),
        ("FLOAT8E5M2FNUZ", 8), ("UINT4", 4), ("INT4", 4),
        ("FLOAT4E2M1", 4), ("FLOAT8E8M0", 8), ("UINT2", 2), ("INT2", 2),
    ];

    private readonly Dictionary<string, (OnnxTensor Tensor, TensorProto Proto)> tensors = new(StringComparer.Ordinal);
    private readonly Func<string, long?> lengthOf;
    private readonly HashSet<string> read = new(StringComparer.Ordinal);
    private Dictionary<string, NodeProto>? producers;
    private Dictionary<string, NodeProto>? consumers;

    private OnnxFile(string path, ModelProto model, Func<string, long?> lengthOf)
    {
        Path = path;
        Model = model;
        this.lengthOf = lengthOf;
        var graph = model.Graph ?? throw Fault("it has no graph");
        IrVersion = model.IrVersion;
        Producer = $"{model.ProducerName} {model.ProducerVersion}".Trim();
        OperatorSets = [.. model.OpsetImport.Select(set => KeyValuePair.Create(set.Domain.Length == 0 ? "ai.onnx" : set.Domain, set.Version))];
        Metadata = [.. model.MetadataProps.Select(entry => KeyValuePair.Create(entry.Key, entry.Value))];
        Operators = [.. graph.Node.GroupBy(node => node.IsStandard() ? node.OpType : $"{node.Domain}.{node.OpType}").Select(
            group => KeyValuePair.Create(group.Key, group.Count())).OrderByDescending(entry => entry.Value).ThenBy(entry => entry.Key, StringComparer.Ordinal)];
        foreach (var tensor in graph.Initializer)
        {
            if (!tensors.TryAdd(tensor.Name, (Tensor(tensor), tensor)))
            {
                throw Fault($"two tensors have the name '{tensor.Name}'");
            }
        }

        Tensors = [.. graph.Initializer.Select(tensor => tensors[tensor.Name].Tensor)];
        Inputs = [.. graph.Input.Where(value => !tensors.ContainsKey(value.Name)).Select(Value)];
        Outputs = [.. graph.Output.Select(Value)];
    }

    /// <summary>The file.</summary>
    public string Path { get; }

    /// <summary>The version of the format.</summary>
    public long IrVersion { get; }

    /// <summary>The program that wrote the file, with its version.</summary>
    public string Producer { get; }

    /// <summary>The versions of the operator sets that it uses, by domain.</summary>
    public IReadOnlyList<KeyValuePair<string, long>> OperatorSets { get; }

    /// <summary>Metadata text by name, in the file's order.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> Metadata { get; }

    /// <summary>
    /// The number of nodes per operator, the most frequent first. Operators of other domains have the domain before the name.
    /// </summary>
    public IReadOnlyList<KeyValuePair<string, int>> Operators { get; }

    /// <summary>The graph's constants, in the file's order.</summary>
    public IReadOnlyList<OnnxTensor> Tensors { get; }

    /// <summary>The inputs that are not constants.</summary>
    public IReadOnlyList<OnnxValue> Inputs { get; }

    /// <summary>The outputs.</summary>
    public IReadOnlyList<OnnxValue> Outputs { get; }

    /// <summary>The model as stored in the file.</summary>
    internal ModelProto Model { get; }

    /// <summary>Opens a file.</summary>
    /// <exception cref="NibbleException">The file is missing or not valid. The message explains why.</exception>
    public static OnnxFile Open(string path)
    {
        if (!File.Exists(path))
        {
            throw new NibbleException($"There is no file {path}.");
        }

        InputFile.RequireRegular(path);
        var folder = Folder(path);
        using var stream = File.OpenRead(path);
        return Read(path, stream, name => File.Exists(IoPath.Combine(folder, name)) ? InputFile.Length(IoPath.Combine(folder, name)) : null);
    }

    /// <summary>Reads a model.</summary>
    /// <param name="path">The file's path, for messages.</param>
    /// <param name="stream">The model.</param>
    /// <param name="lengthOf">Returns the size in bytes of a file next to the model. Null if there is no such file.</param>
    internal static OnnxFile Read(string path, Stream stream, Func<string, long?> lengthOf)
    {
        try
        {
            return new OnnxFile(path, ModelProto.Parser.ParseFrom(stream), lengthOf);
        }
        catch (InvalidProtocolBufferException exception)
        {
            throw new NibbleException($"{path} is not an ONNX model: {exception.Message}", exception);
        }
    }

    /// <summary>The constant with a given name. Null if there is none.</summary>
    internal OnnxTensor? Find(string name) => tensors.TryGetValue(name, out var found) ? found.Tensor : null;

    /// <summary>The actual size of a constant in bytes, whatever its shape requires. Null if there is none.</summary>
    internal long? HeldBytes(string name) =>
        tensors.TryGetValue(name, out var found) ? found.Tensor.DataFile is null ? found.Proto.RawData.Length : found.Tensor.Bytes ?? 0 : null;

    /// <summary>Whether a constant's bytes have been read.</summary>
    internal bool WasRead(string name) => read.Contains(name);

    /// <summary>Reads a constant.</summary>
    /// <exception cref="NibbleException">There is no such constant, it has another type or shape, or its values are not stored as bytes.</exception>
    internal ReadOnlyMemory<byte> Bytes(string name, OnnxType type, params ReadOnlySpan<long> shape)
    {
        var (tensor, proto) = tensors.TryGetValue(name, out var found) ? found
            : throw Refused($"there is no tensor '{name}', expected {Described(type.Name(), shape)}");
        if (proto.DataType != (int)type || !shape.SequenceEqual([.. tensor.Shape]))
        {
            throw Refused($"tensor '{name}' is {Described(tensor.Type, [.. tensor.Shape])}, expected {Described(type.Name(), shape)}");
        }

        read.Add(name);
        return Bytes(tensor, proto);
    }

    /// <summary>Reads a constant's values.</summary>
    /// <exception cref="NibbleException">There is no such constant, it has another type or shape, or its values are not stored as bytes.</exception>
    internal T[] Values<T>(string name, OnnxType type, params ReadOnlySpan<long> shape)
        where T : unmanaged => MemoryMarshal.Cast<byte, T>(Bytes(name, type, shape).Span).ToArray();

    /// <summary>Checks a constant that may be anywhere in the model.</summary>
    /// <exception cref="NibbleException">Its type, its shape or the size of its bytes is not valid.</exception>
    internal void Require(TensorProto tensor) => Tensor(tensor);

    /// <summary>Reads the bytes of a constant that may be anywhere in the model and is stored in another file.</summary>
    /// <exception cref="NibbleException">It is not valid, or the file does not hold it.</exception>
    internal ReadOnlyMemory<byte> ExternalBytes(TensorProto tensor) => Bytes(Tensor(tensor), tensor);

    /// <summary>The node that produces a value.</summary>
    /// <exception cref="NibbleException">There is none.</exception>
    internal NodeProto NodeGiving(string value) =>
        (producers ??= Index(node => node.Output)).GetValueOrDefault(value) ?? throw Refused($"no node produces '{value}'");

    /// <summary>The first node that reads a value.</summary>
    /// <exception cref="NibbleException">There is none.</exception>
    internal NodeProto NodeTaking(string value) =>
        (consumers ??= Index(node => node.Input)).GetValueOrDefault(value) ?? throw Refused($"no node reads '{value}'");

    /// <summary>The error for a file that is valid but holds something other than what is needed.</summary>
    internal NibbleException Refused(string reason) => new($"{Path}: {reason}");

    private Dictionary<string, NodeProto> Index(Func<NodeProto, IEnumerable<string>> values)
    {
        var index = new Dictionary<string, NodeProto>(StringComparer.Ordinal);
        foreach (var node in Model.Graph.Node)
        {
            foreach (var value in values(node))
            {
                index.TryAdd(value, node);
            }
        }

        return index;
    }

    private ReadOnlyMemory<byte> Bytes(OnnxTensor tensor, TensorProto proto)
    {
        var length = tensor.Bytes is { } bytes && bytes <= Array.MaxLength ? (int)bytes
            : throw Refused($"tensor '{tensor.Name}' has {tensor.Bytes} bytes, expected at most {Array.MaxLength}");
        if (tensor.DataFile is null)
        {
            return proto.RawData.Length == length ? proto.RawData.Memory
                : throw Refused($"tensor '{tensor.Name}' holds {proto.RawData.Length} bytes of raw data, expected {length} for its shape");
        }

        var offset = proto.ExternalData.LastOrDefault(entry => entry.Key == "offset")?.Value is { } text
            ? long.Parse(text, NumberStyles.None, CultureInfo.InvariantCulture) : 0;
        var data = new byte[length];
        InputFile.RequireRegular(IoPath.Combine(Folder(Path), tensor.DataFile));
        using var stream = File.OpenRead(IoPath.Combine(Folder(Path), tensor.DataFile));
        stream.Seek(offset, SeekOrigin.Begin);
        stream.ReadExactly(data);
        return data;
    }

    private static string Folder(string path) => IoPath.GetDirectoryName(IoPath.GetFullPath(path))!;

    private static string Described(string type, ReadOnlySpan<long> shape) => $"{type} [{string.Join(", ", shape.ToArray())}]";

    internal static string TypeName(int type) =>
        type >= 0 && type < Types.Length ? Types[type].Name : string.Create(CultureInfo.InvariantCulture, $"type {type}");

    private OnnxTensor Tensor(TensorProto tensor)
    {
        if (tensor.DataType <= 0 || tensor.DataType >= Types.Length)
        {
            throw Fault($"tensor '{tensor.Name}' has type {tensor.DataType}, expected 1 to {Types.Length - 1}");
        }

        var values = 1L;
        foreach (var size in tensor.Dims)
        {
            if (size < 0 || Math.BigMul(values, size, out values) != 0 || values is < 0 or > long.MaxValue / 128)
            {
                throw Fault($"tensor '{tensor.Name}' has the shape [{string.Join(", ", tensor.Dims)}], which is negative or too large");
            }
        }

        var bits = Types[tensor.DataType].Bits;
        long? bytes = bits > 0 ? ((values * bits) + 7) / 8 : null;
        var file = tensor.DataLocation == TensorProto.Types.DataLocation.External ? RequireData(tensor, bytes) : null;

        // Values may also be stored individually in typed lists, which are ignored.
        if (file is null && tensor.HasRawData && bytes is not null && tensor.RawData.Length != bytes)
        {
            throw Fault($"tensor '{tensor.Name}' holds {tensor.RawData.Length} bytes, but its shape requires {bytes}");
        }

        return new OnnxTensor(tensor.Name, TypeName(tensor.DataType), [.. tensor.Dims], bytes, file);
    }

    /// <summary>The file that holds a tensor. It must be next to the model and long enough.</summary>
    private string RequireData(TensorProto tensor, long? bytes)
    {
        var location = Entry("location");
        if (string.IsNullOrEmpty(location) || IoPath.IsPathRooted(location) || location.Contains('\0', StringComparison.Ordinal)
            || location.Split('/', '\\').Contains(".."))
        {
            throw Fault($"tensor '{tensor.Name}' is stored in '{location}', expected a file next to the model");
        }

        var total = lengthOf(location) ?? throw Fault($"tensor '{tensor.Name}' is stored in '{location}', which is missing. It must be next to the model");
        var offset = Number("offset") ?? 0;
        var length = Number("length") ?? total - offset;
        if (offset > total || length > total - offset || length != (bytes ?? length))
        {
            throw Fault($"tensor '{tensor.Name}' takes {length} bytes from byte {offset} of '{location}', which has {total} bytes; its shape requires {bytes}");
        }

        return location;

        string? Entry(string key) => tensor.ExternalData.LastOrDefault(entry => entry.Key == key)?.Value;

        long? Number(string key) => Entry(key) is not { } text ? null
            : long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number
            : throw Fault($"tensor '{tensor.Name}' has the {key} '{text}', expected a whole number");
    }

    private static OnnxValue Value(ValueInfoProto value) => new(
        value.Name,
        value.Type?.TensorType is { } tensor ? TypeName(tensor.ElemType) : string.Empty,
        [.. value.Type?.TensorType?.Shape?.Dim.Select(
            size => size.ValueCase == TensorShapeProto.Types.Dimension.ValueOneofCase.DimValue ? size.DimValue.ToString(CultureInfo.InvariantCulture)
            : size.DimParam) ?? []]);

    private NibbleException Fault(string fault) => new($"{Path} is not a valid ONNX model: {fault}");
}
