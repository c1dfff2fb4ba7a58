using System.Collections.Frozen;
using System.Text.Json;
using Nibble.Files;

namespace Nibble.Formats.Safetensors;

/// <summary>Reads and validates the JSON header of a safetensors file.</summary>
/// <remarks>
/// Format: huggingface/safetensors, README.md. The file has 8 bytes of header length N, N bytes of JSON, then the tensors. Their <c>data_offsets</c> count
/// from the end of the header and cover the rest of the file exactly, without overlap.
/// </remarks>
internal ref struct SafetensorsHeader
{
    /// <summary>The size of the header length, in bytes.</summary>
    public const int LengthSize = sizeof(ulong);

    /// <summary>The maximum header length that the reference implementation accepts.</summary>
    public const int MaxLength = 100_000_000;

    /// <summary>The header's key for the metadata of the file.</summary>
    public const string MetadataKey = "__metadata__";

    /// <summary>The element types by their names in the header.</summary>
    public static readonly FrozenDictionary<string, ElementType> ElementTypes =
        Enum.GetValues<ElementType>().ToFrozenDictionary(type => type.ToString(), StringComparer.Ordinal);

    // The deepest value is a number in a list in a tensor's object in the header's object.
    private static readonly JsonReaderOptions Options = new() { MaxDepth = 8 };

    private readonly string path;
    private readonly long dataOffset;
    private readonly List<SafetensorsEntry> tensors = [];
    private readonly Dictionary<string, string> metadata = new(StringComparer.Ordinal);
    private Utf8JsonReader reader;

    private SafetensorsHeader(string path, ReadOnlySpan<byte> json)
    {
        this.path = path;
        dataOffset = LengthSize + json.Length;
        reader = new Utf8JsonReader(json, Options);
    }

    private readonly long Position => LengthSize + reader.TokenStartIndex;

    /// <summary>Reads a header.</summary>
    /// <param name="path">The file's path, for messages.</param>
    /// <param name="json">The header.</param>
    /// <param name="fileLength">The file's size in bytes.</param>
    public static (IReadOnlyList<SafetensorsEntry> Tensors, IReadOnlyDictionary<string, string> Metadata) Read(
        string path, ReadOnlySpan<byte> json, long fileLength)
    {
        var header = new SafetensorsHeader(path, json);
        try
        {
            header.ReadEntries();
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            // InvalidOperationException: a string that is not valid UTF-8 or contains half of a surrogate pair.
            throw new SafetensorsException(path, header.Position, $"the header is not valid JSON: {exception.Message}", exception);
        }

        header.tensors.Sort((left, right) => (left.Offset, left.ByteLength).CompareTo((right.Offset, right.ByteLength)));
        header.RequireCoverage(fileLength);
        return (header.tensors, header.metadata);
    }

    private void ReadEntries()
    {
        reader.Read();
        Require(JsonTokenType.StartObject, "an object");
        var names = new HashSet<string>(StringComparer.Ordinal);
        while (NextProperty() is { } name)
        {
            if (!names.Add(name))
            {
                throw Fault($"the header contains {name} twice");
            }

            reader.Read();
            if (name == MetadataKey)
            {
                ReadMetadata();
            }
            else
            {
                tensors.Add(ReadTensor(name));
            }
        }

        // Reads to the end, so that anything but whitespace after the object is rejected.
        reader.Read();
    }

    private void ReadMetadata()
    {
        Require(JsonTokenType.StartObject, "an object of strings");
        while (NextProperty() is { } key)
        {
            reader.Read();
            Require(JsonTokenType.String, "a string");
            if (!metadata.TryAdd(key, reader.GetString()!))
            {
                throw Fault($"the metadata contains {key} twice");
            }
        }
    }

    private SafetensorsEntry ReadTensor(string name)
    {
        var start = Position;
        ElementType? type = null;
        List<long>? shape = null;
        List<long>? offsets = null;
        Require(JsonTokenType.StartObject, "an object of dtype, shape and data_offsets");
        while (NextProperty() is { } key)
        {
            reader.Read();
            switch (key)
            {
                case "dtype" when type is null:
                    Require(JsonTokenType.String, "a string");
                    var dtype = reader.GetString()!;
                    type = ElementTypes.TryGetValue(dtype, out var known)
                        ? known
                        : throw Fault($"tensor {name} has element type {dtype}; expected one of "
                            + $"{string.Join(", ", ElementTypes.Keys.Order(StringComparer.Ordinal))}");
                    break;
                case "shape" when shape is null:
                    shape = ReadIntegers(name);
                    break;
                case "data_offsets" when offsets is null:
                    offsets = ReadIntegers(name);
                    break;
                default:
                    throw Fault($"tensor {name} has an unknown or repeated key {key}; expected dtype, shape and data_offsets once each");
            }
        }

        if (type is null || shape is null || offsets is not [var begin, var end])
        {
            throw new SafetensorsException(path, start, $"tensor {name} needs dtype, shape and data_offsets of two numbers");
        }

        var length = ByteLength(type.Value, shape)
            ?? throw new SafetensorsException(path, start, $"tensor {name} of shape [{string.Join(", ", shape)}] is larger than any file");
        if (end < begin || end - begin != length || end > long.MaxValue - dataOffset)
        {
            throw new SafetensorsException(
                path, start, $"tensor {name} has data_offsets [{begin}, {end}], but {type} [{string.Join(", ", shape)}] is {length} bytes");
        }

        return new SafetensorsEntry(name, type.Value, shape, dataOffset + begin, length);
    }

    private List<long> ReadIntegers(string tensor)
    {
        Require(JsonTokenType.StartArray, "a list of numbers");
        var integers = new List<long>();
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            Require(JsonTokenType.Number, "a number");
            if (!reader.TryGetInt64(out var integer) || integer < 0)
            {
                throw Fault($"tensor {tensor} has a size or offset that is not an integer from 0 to 2^63 - 1");
            }

            integers.Add(integer);
        }

        return integers;
    }

    /// <summary>The size of a tensor in bytes; null if it overflows.</summary>
    public static long? ByteLength(ElementType type, IEnumerable<long> shape)
    {
        long length = type.ByteSize();
        foreach (var size in shape)
        {
            if (Math.BigMul(length, size, out length) != 0 || length < 0)
            {
                return null;
            }
        }

        return length;
    }

    private readonly void RequireCoverage(long fileLength)
    {
        var end = dataOffset;
        foreach (var tensor in tensors)
        {
            if (tensor.Offset != end)
            {
                var fault = tensor.Offset < end ? "overlaps the tensor before it" : "leaves a gap after the tensor before it";
                throw new SafetensorsException(path, tensor.Offset, $"tensor {tensor.Name} {fault}, which ends at byte {end}");
            }

            end += tensor.ByteLength;
        }

        if (end != fileLength)
        {
            var remedy = end > fileLength ? "it was cut short; copy or download it again" : "there is data after the last tensor";
            throw new SafetensorsException(path, Math.Min(end, fileLength), $"the tensors end at byte {end}, but the file at byte {fileLength}: {remedy}");
        }
    }

    private string? NextProperty()
    {
        reader.Read();
        return reader.TokenType == JsonTokenType.EndObject ? null : reader.GetString();
    }

    private readonly void Require(JsonTokenType type, string expected)
    {
        if (reader.TokenType != type)
        {
            throw Fault($"expected {expected} in the header, found {reader.TokenType}");
        }
    }

    private readonly SafetensorsException Fault(string message) => new(path, Position, message);
}
