using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;

namespace Nibble.Formats.Gguf;

/// <summary>The type of a GGUF metadata value. The numbers are those in the file.</summary>
internal enum GgufValueType
{
    /// <summary>Unsigned 8-bit integer.</summary>
    UInt8 = 0,

    /// <summary>Signed 8-bit integer.</summary>
    Int8 = 1,

    /// <summary>Unsigned 16-bit integer.</summary>
    UInt16 = 2,

    /// <summary>Signed 16-bit integer.</summary>
    Int16 = 3,

    /// <summary>Unsigned 32-bit integer.</summary>
    UInt32 = 4,

    /// <summary>Signed 32-bit integer.</summary>
    Int32 = 5,

    /// <summary>IEEE 754 binary32.</summary>
    Float32 = 6,

    /// <summary>One byte, 0 or 1.</summary>
    Bool = 7,

    /// <summary>A length, then UTF-8 text.</summary>
    String = 8,

    /// <summary>An element type and a count, then the values.</summary>
    Array = 9,

    /// <summary>Unsigned 64-bit integer.</summary>
    UInt64 = 10,

    /// <summary>Signed 64-bit integer.</summary>
    Int64 = 11,

    /// <summary>IEEE 754 binary64.</summary>
    Float64 = 12,
}

/// <summary>A GGUF metadata value, kept as the bytes of the file, so that copying it changes nothing.</summary>
internal sealed class GgufValue
{
    private readonly ReadOnlyMemory<byte> bytes;

    internal GgufValue(GgufValueType type, ReadOnlyMemory<byte> bytes)
    {
        Type = type;
        this.bytes = bytes;
    }

    /// <summary>The type of the value.</summary>
    public GgufValueType Type { get; }

    /// <summary>The value as stored in a file, little-endian, without the type number.</summary>
    public ReadOnlySpan<byte> Bytes => bytes.Span;

    /// <summary>An unsigned 32-bit integer.</summary>
    public static GgufValue Of(uint value)
    {
        var bytes = new byte[sizeof(uint)];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        return new GgufValue(GgufValueType.UInt32, bytes);
    }

    /// <summary>A binary32 number.</summary>
    public static GgufValue Of(float value)
    {
        var bytes = new byte[sizeof(float)];
        BinaryPrimitives.WriteSingleLittleEndian(bytes, value);
        return new GgufValue(GgufValueType.Float32, bytes);
    }

    /// <summary>A Boolean.</summary>
    public static GgufValue Of(bool value) => new(GgufValueType.Bool, new[] { value ? (byte)1 : (byte)0 });

    /// <summary>A string.</summary>
    public static GgufValue Of(string value)
    {
        ArgumentNullException.ThrowIfNull(value);
        using var stream = new MemoryStream();
        Append(stream, value);
        return new GgufValue(GgufValueType.String, stream.ToArray());
    }

    /// <summary>An array of strings.</summary>
    public static GgufValue Of(IReadOnlyList<string> values)
    {
        ArgumentNullException.ThrowIfNull(values);
        using var stream = Array(GgufValueType.String, values.Count);
        foreach (var value in values)
        {
            Append(stream, value);
        }

        return new GgufValue(GgufValueType.Array, stream.ToArray());
    }

    /// <summary>An array of binary32 numbers.</summary>
    public static GgufValue Of(ReadOnlySpan<float> values)
    {
        using var stream = Array(GgufValueType.Float32, values.Length);
        stream.Write(MemoryMarshal.AsBytes(values));
        return new GgufValue(GgufValueType.Array, stream.ToArray());
    }

    /// <summary>An array of signed 32-bit integers.</summary>
    public static GgufValue Of(ReadOnlySpan<int> values)
    {
        using var stream = Array(GgufValueType.Int32, values.Length);
        stream.Write(MemoryMarshal.AsBytes(values));
        return new GgufValue(GgufValueType.Array, stream.ToArray());
    }

    /// <summary>The value as an integer; null if it is not an integer or does not fit.</summary>
    public long? AsInteger() => Type switch
    {
        GgufValueType.UInt8 => Bytes[0],
        GgufValueType.Int8 => (sbyte)Bytes[0],
        GgufValueType.UInt16 => BinaryPrimitives.ReadUInt16LittleEndian(Bytes),
        GgufValueType.Int16 => BinaryPrimitives.ReadInt16LittleEndian(Bytes),
        GgufValueType.UInt32 => BinaryPrimitives.ReadUInt32LittleEndian(Bytes),
        GgufValueType.Int32 => BinaryPrimitives.ReadInt32LittleEndian(Bytes),
        GgufValueType.Int64 => BinaryPrimitives.ReadInt64LittleEndian(Bytes),
        GgufValueType.UInt64 when BinaryPrimitives.ReadUInt64LittleEndian(Bytes) is <= long.MaxValue and var value => (long)value,
        _ => null,
    };

    /// <summary>The value as a floating-point number; null if it is not one.</summary>
    public double? AsNumber() => Type switch
    {
        GgufValueType.Float32 => BinaryPrimitives.ReadSingleLittleEndian(Bytes),
        GgufValueType.Float64 => BinaryPrimitives.ReadDoubleLittleEndian(Bytes),
        _ => null,
    };

    /// <summary>The value as a Boolean; null if it is not one.</summary>
    public bool? AsBool() => Type == GgufValueType.Bool ? Bytes[0] != 0 : null;

    /// <summary>The value as a string, with invalid UTF-8 replaced; null if it is not a string.</summary>
    public string? AsText() => Type == GgufValueType.String ? Encoding.UTF8.GetString(Bytes[sizeof(ulong)..]) : null;

    /// <summary>The value as an array of strings; null if it is not one.</summary>
    public IReadOnlyList<string>? AsTexts()
    {
        if (!IsArrayOf(GgufValueType.String, out var count))
        {
            return null;
        }

        var texts = new string[count];
        var rest = Elements;
        for (var i = 0; i < count; i++)
        {
            var length = (int)BinaryPrimitives.ReadUInt64LittleEndian(rest);
            texts[i] = Encoding.UTF8.GetString(rest.Slice(sizeof(ulong), length));
            rest = rest[(sizeof(ulong) + length)..];
        }

        return texts;
    }

    /// <summary>The value as an array of binary32 numbers; null if it is not one.</summary>
    public float[]? AsFloats() => IsArrayOf(GgufValueType.Float32, out _) ? MemoryMarshal.Cast<byte, float>(Elements).ToArray() : null;

    /// <summary>The value as an array of signed 32-bit integers; null if it is not one.</summary>
    public int[]? AsIntegers() => IsArrayOf(GgufValueType.Int32, out _) ? MemoryMarshal.Cast<byte, int>(Elements).ToArray() : null;

    // An array starts with the type and number of its elements.
    private ReadOnlySpan<byte> Elements => Bytes[(sizeof(uint) + sizeof(ulong))..];

    private bool IsArrayOf(GgufValueType type, out int count)
    {
        var found = Type == GgufValueType.Array && BinaryPrimitives.ReadUInt32LittleEndian(Bytes) == (uint)type;
        count = found ? (int)BinaryPrimitives.ReadUInt64LittleEndian(Bytes[sizeof(uint)..]) : 0;
        return found;
    }

    private static MemoryStream Array(GgufValueType type, int count)
    {
        var stream = new MemoryStream();
        Span<byte> head = stackalloc byte[sizeof(uint) + sizeof(ulong)];
        BinaryPrimitives.WriteUInt32LittleEndian(head, (uint)type);
        BinaryPrimitives.WriteUInt64LittleEndian(head[sizeof(uint)..], (ulong)count);
        stream.Write(head);
        return stream;
    }

    internal static void Append(Stream stream, string text)
    {
        var utf8 = Encoding.UTF8.GetBytes(text);
        Span<byte> length = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)utf8.Length);
        stream.Write(length);
        stream.Write(utf8);
    }
}
