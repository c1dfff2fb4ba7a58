using System.Buffers.Binary;
using System.Text;
using System.Text.Unicode;
using Nibble.Files;

namespace Nibble.Formats.Gguf;

/// <summary>Reads and validates everything before the tensor data of a GGUF file.</summary>
/// <remarks>
/// Definition: ggml-org/ggml, <c>docs/gguf.md</c>, versions 2 and 3, which have the same layout. As in ggml's reference reader (<c>src/gguf.cpp</c>),
/// tensors follow each other in the order of their descriptions, each at a multiple of the alignment.
/// </remarks>
internal ref struct GgufHeader
{
    /// <summary>The first four bytes.</summary>
    public const uint Magic = 0x46554747;

    /// <summary>The version that Nibble writes.</summary>
    public const uint Version = 3;

    /// <summary>The metadata key of the alignment.</summary>
    public const string AlignmentKey = "general.alignment";

    /// <summary>The alignment if the file has no key for it.</summary>
    public const uint DefaultAlignment = 32;

    /// <summary>The maximum length of a tensor's name, in bytes.</summary>
    public const int MaxName = 63;

    /// <summary>The maximum number of dimensions of a tensor.</summary>
    public const int MaxDimensions = 4;

    private const int MaxKey = ushort.MaxValue;
    private const int MaxDepth = 4;
    private const uint MaxAlignment = 1 << 30;

    // The minimum sizes of a key with its value and of a tensor description. They bound the counts that a file can claim.
    private const int LeastPair = sizeof(ulong) + 1 + sizeof(uint) + 1;
    private const int LeastTensor = sizeof(ulong) + 1 + sizeof(uint) + sizeof(ulong) + sizeof(uint) + sizeof(ulong);

    private readonly string path;
    private readonly ReadOnlySpan<byte> bytes;
    private readonly long fileLength;
    private readonly List<KeyValuePair<string, GgufValue>> metadata = [];
    private readonly List<GgufEntry> tensors = [];
    private int position;

    private GgufHeader(string path, ReadOnlySpan<byte> bytes, long fileLength)
    {
        this.path = path;
        this.bytes = bytes;
        this.fileLength = fileLength;
    }

    /// <summary>Reads a header.</summary>
    /// <param name="path">The file's path, for messages.</param>
    /// <param name="bytes">The file, or as much of its start as one span can hold.</param>
    /// <param name="fileLength">The file's size in bytes.</param>
    /// <exception cref="GgufException">The file violates the format.</exception>
    public static (IReadOnlyList<KeyValuePair<string, GgufValue>> Metadata, IReadOnlyList<GgufEntry> Tensors, uint Alignment) Read(
        string path, ReadOnlySpan<byte> bytes, long fileLength)
    {
        var header = new GgufHeader(path, bytes, fileLength);
        var alignment = header.Read();
        return (header.metadata, header.tensors, alignment);
    }

    private uint Read()
    {
        if (bytes.Length < 4 || UInt32() != Magic)
        {
            throw new GgufException(path, 0, "a GGUF file starts with the letters GGUF; this is not a GGUF file");
        }

        var version = UInt32();
        if (version is not (2 or 3))
        {
            throw Fault(4, (version & 0xFFFF) == 0 && version != 0
                ? "the file is big-endian; expected a little-endian one"
                : $"the file has version {version}, expected 2 or 3; convert it again with a current llama.cpp");
        }

        var tensors = Count("tensors", LeastTensor);
        var pairs = Count("metadata", LeastPair);
        ReadMetadata(pairs);
        var alignment = Alignment();
        ReadTensors(tensors, alignment);
        return alignment;
    }

    private void ReadMetadata(int count)
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        for (var i = 0; i < count; i++)
        {
            var start = position;
            var key = Name("key", MaxKey);
            if (!names.Add(key))
            {
                throw Fault(start, $"the metadata contains {key} twice");
            }

            var type = ValueType(key);
            var first = position;
            SkipValue(key, type, 0);
            metadata.Add(new(key, new GgufValue(type, bytes[first..position].ToArray())));
        }
    }

    private GgufValueType ValueType(string key)
    {
        var start = position;
        var number = UInt32();
        return number <= (uint)GgufValueType.Float64 ? (GgufValueType)number
            : throw Fault(start, $"{key} has a value of type {number}; expected 0 to {(int)GgufValueType.Float64}");
    }

    private void SkipValue(string key, GgufValueType type, int depth)
    {
        switch (type)
        {
            case GgufValueType.String:
                Take(Length(key, 1));
                break;
            case GgufValueType.Array:
                SkipArray(key, depth);
                break;
            case GgufValueType.Bool:
                RequireBools(key, Take(1));
                break;
            default:
                Take(Size(type));
                break;
        }
    }

    private void SkipArray(string key, int depth)
    {
        if (depth == MaxDepth)
        {
            throw Fault(position, $"{key} nests arrays deeper than {MaxDepth}");
        }

        var type = ValueType(key);
        switch (type)
        {
            case GgufValueType.String or GgufValueType.Array:
                // The shortest string is only its length. The shortest array is only its type and length.
                var count = Length(key, type == GgufValueType.String ? sizeof(ulong) : sizeof(uint) + sizeof(ulong));
                for (var i = 0; i < count; i++)
                {
                    SkipValue(key, type, depth + 1);
                }

                break;
            case GgufValueType.Bool:
                RequireBools(key, Take(Length(key, 1)));
                break;
            default:
                Take(Length(key, Size(type)) * Size(type));
                break;
        }
    }

    private readonly void RequireBools(string key, ReadOnlySpan<byte> values)
    {
        if (values.IndexOfAnyExceptInRange((byte)0, (byte)1) >= 0)
        {
            throw Fault(position - values.Length, $"{key} has a Boolean value that is neither 0 nor 1");
        }
    }

    private readonly uint Alignment()
    {
        foreach (var (key, value) in metadata)
        {
            if (key == AlignmentKey)
            {
                return value.Type == GgufValueType.UInt32 && value.AsInteger() is > 0 and <= MaxAlignment and var alignment && long.IsPow2(alignment)
                    ? (uint)alignment
                    : throw Fault(position, $"{AlignmentKey} is not a power of two of type UInt32, at most {MaxAlignment}");
            }
        }

        return DefaultAlignment;
    }

    private void ReadTensors(int count, uint alignment)
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        var described = new List<(GgufEntry Entry, int Start)>();
        for (var i = 0; i < count; i++)
        {
            var start = position;
            var name = Name("tensor name", MaxName);
            if (!names.Add(name))
            {
                throw Fault(start, $"the file contains the tensor {name} twice");
            }

            described.Add((ReadTensor(name, start), start));
        }

        var end = Align(position, alignment);
        var first = end;
        foreach (var (entry, start) in described)
        {
            if (entry.Offset != end - first)
            {
                throw Fault(start, $"tensor {entry.Name} is {entry.Offset} bytes into the data, expected {end - first}, directly after the previous tensor at "
                    + $"a multiple of {alignment}");
            }

            if (entry.ByteLength > fileLength - end)
            {
                throw Fault(Math.Min(end, fileLength),
                    $"tensor {entry.Name} needs {entry.ByteLength} bytes from byte {end}, but the file has only {fileLength}. It was cut short; copy or "
                    + $"download it again");
            }

            tensors.Add(entry with { Offset = end });
            end = Align(end + entry.ByteLength, alignment);
        }
    }

    private GgufEntry ReadTensor(string name, int start)
    {
        var dimensions = UInt32();
        if (dimensions is 0 or > MaxDimensions)
        {
            throw Fault(start, $"tensor {name} has {dimensions} dimensions, expected 1 to {MaxDimensions}");
        }

        var sizes = new long[dimensions];
        for (var i = 0; i < sizes.Length; i++)
        {
            sizes[i] = (long)UInt64();
        }

        var number = UInt32();
        if (number > int.MaxValue || !Enum.IsDefined((GgufType)number))
        {
            var supported = string.Join(", ", Enum.GetValues<GgufType>());
            throw Fault(start, $"tensor {name} has type {GgufTypes.NameOf(number)}, which is not supported; expected one of {supported}");
        }

        var type = (GgufType)number;
        var length = type.CountBytes(sizes)
            ?? throw Fault(start, $"tensor {name} of type {type} has the shape [{string.Join(", ", sizes)}]; expected sizes of 1 or more, the first a multiple "
                + $"of the block size {type.BlockSize()}, and less than 2^63 bytes");
        var offset = (long)UInt64();
        return new GgufEntry(name, type, sizes, offset, length);
    }

    /// <summary>The next multiple of the alignment.</summary>
    public static long Align(long position, uint alignment) => (position + alignment - 1) & ~((long)alignment - 1);

    private static int Size(GgufValueType type) => type switch
    {
        GgufValueType.UInt8 or GgufValueType.Int8 or GgufValueType.Bool => 1,
        GgufValueType.UInt16 or GgufValueType.Int16 => 2,
        GgufValueType.UInt32 or GgufValueType.Int32 or GgufValueType.Float32 => 4,
        _ => 8,
    };

    private string Name(string what, int longest)
    {
        var start = position;
        var utf8 = Take(Length(what, 1));
        return utf8.Length is > 0 && utf8.Length <= longest && Utf8.IsValid(utf8) && utf8.IndexOf((byte)0) < 0
            ? Encoding.UTF8.GetString(utf8)
            : throw Fault(start, $"a {what} has {utf8.Length} bytes or is not UTF-8; expected 1 to {longest} bytes of UTF-8");
    }

    private int Count(string what, int least)
    {
        var start = position;
        var count = UInt64();
        return count <= (ulong)(bytes.Length / least) ? (int)count
            : throw Fault(start, $"the file claims {count} {what}, more than its {fileLength} bytes can hold");
    }

    /// <summary>Reads a number of elements and checks that the rest of the file can hold them.</summary>
    private int Length(string what, int elementSize)
    {
        var start = position;
        var length = UInt64();
        return length <= (ulong)((bytes.Length - position) / elementSize)
            ? (int)length
            : throw Fault(start, $"{what} claims {length} elements, more than the rest of the file holds");
    }

    private uint UInt32() => BinaryPrimitives.ReadUInt32LittleEndian(Take(sizeof(uint)));

    private ulong UInt64() => BinaryPrimitives.ReadUInt64LittleEndian(Take(sizeof(ulong)));

    private ReadOnlySpan<byte> Take(int length)
    {
        if (length > bytes.Length - position)
        {
            throw Fault(position, $"the header continues past byte {bytes.Length}. The file was cut short or its header is too large; copy or download it "
                + $"again");
        }

        var taken = bytes.Slice(position, length);
        position += length;
        return taken;
    }

    private readonly GgufException Fault(long offset, string message) => new(path, offset, message);
}
