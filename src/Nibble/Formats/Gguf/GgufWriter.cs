using System.Buffers.Binary;
using Nibble.Files;

namespace Nibble.Formats.Gguf;

/// <summary>A tensor to be written.</summary>
/// <param name="Name">The tensor's name, 1 to 63 bytes of UTF-8.</param>
/// <param name="Type">How its values are stored.</param>
/// <param name="Dimensions">Its sizes, one to four, the fastest first, which is whole blocks.</param>
/// <param name="Write">Writes exactly the tensor's bytes; called when its turn comes.</param>
internal sealed record GgufTensor(string Name, GgufType Type, IReadOnlyList<long> Dimensions, Action<Stream> Write);

/// <summary>Writes GGUF files of version 3: equal metadata and tensors in equal order give equal bytes.</summary>
internal static class GgufWriter
{
    /// <summary>Writes a file under a temporary name and renames it once it is whole.</summary>
    /// <param name="path">The file to write.</param>
    /// <param name="metadata">The metadata, in the order in which it is to stand.</param>
    /// <param name="tensors">The tensors, in the order in which they are to stand.</param>
    /// <param name="replace">Whether a file of that name is replaced; otherwise it is an error.</param>
    /// <exception cref="IOException">The disk has no room for the file.</exception>
    /// <exception cref="NibbleException">The file exists and must not be replaced.</exception>
    /// <exception cref="ArgumentException">Names repeat or are too long, a shape is not whole blocks, the alignment is none, or a tensor writes more or fewer
    /// bytes than its shape says.</exception>
    public static void Write(string path, IReadOnlyList<KeyValuePair<string, GgufValue>> metadata, IReadOnlyList<GgufTensor> tensors, bool replace = true)
    {
        ArgumentNullException.ThrowIfNull(path);
        ArgumentNullException.ThrowIfNull(tensors);
        var layout = GgufLayout.Create(metadata, [.. tensors.Select(tensor => (tensor.Name, tensor.Type, tensor.Dimensions))]);
        DiskSpace.Require(path, layout.Length, "the file");
        AtomicFile.Write(path, stream =>
        {
            stream.Write(layout.Header);
            for (var i = 0; i < tensors.Count; i++)
            {
                Pad(stream, layout.Tensors[i].Offset);
                tensors[i].Write(stream);
                var end = layout.Tensors[i].Offset + layout.Tensors[i].ByteLength;
                if (stream.Position != end)
                {
                    throw new ArgumentException($"Tensor {tensors[i].Name} wrote up to byte {stream.Position}, its shape says {end}.", nameof(tensors));
                }
            }

            Pad(stream, layout.Length);
        }, replace);
    }

    private static void Pad(Stream stream, long position)
    {
        while (stream.Position < position)
        {
            stream.WriteByte(0);
        }
    }
}

/// <summary>Where everything stands in a GGUF file that is to be written.</summary>
internal sealed class GgufLayout
{
    private GgufLayout(byte[] header, IReadOnlyList<GgufEntry> tensors, long length)
    {
        Header = header;
        Tensors = tensors;
        Length = length;
    }

    /// <summary>All that stands before the tensors, without the padding behind it.</summary>
    public byte[] Header { get; }

    /// <summary>The tensors in their places.</summary>
    public IReadOnlyList<GgufEntry> Tensors { get; }

    /// <summary>Bytes of the file; the last tensor is padded like the others.</summary>
    public long Length { get; }

    /// <summary>Lays out a file.</summary>
    /// <exception cref="ArgumentException">Names repeat or are too long, a shape is not whole blocks, or the alignment is none.</exception>
    public static GgufLayout Create(
        IReadOnlyList<KeyValuePair<string, GgufValue>> metadata, IReadOnlyList<(string Name, GgufType Type, IReadOnlyList<long> Dimensions)> tensors)
    {
        ArgumentNullException.ThrowIfNull(metadata);
        var alignment = GgufHeader.DefaultAlignment;
        using var stream = new MemoryStream();
        Write(stream, GgufHeader.Magic);
        Write(stream, GgufHeader.Version);
        Write(stream, (ulong)tensors.Count);
        Write(stream, (ulong)metadata.Count);
        foreach (var (key, value) in metadata)
        {
            GgufValue.Append(stream, key);
            Write(stream, (uint)value.Type);
            stream.Write(value.Bytes);
            if (key == GgufHeader.AlignmentKey)
            {
                alignment = (uint)value.AsInteger()!;
            }
        }

        var entries = new List<GgufEntry>();
        var offset = 0L;
        foreach (var (name, type, dimensions) in tensors)
        {
            var bytes = type.CountBytes(dimensions) ?? throw new ArgumentException(
                $"Tensor {name} of type {type} has the shape [{string.Join(", ", dimensions)}], which is not whole blocks.", nameof(tensors));
            GgufValue.Append(stream, name);
            Write(stream, (uint)dimensions.Count);
            foreach (var size in dimensions)
            {
                Write(stream, (ulong)size);
            }

            Write(stream, (uint)type);
            Write(stream, (ulong)offset);
            entries.Add(new GgufEntry(name, type, dimensions, offset, bytes));
            offset = GgufHeader.Align(checked(offset + bytes), alignment);
        }

        var header = stream.ToArray();
        var data = GgufHeader.Align(header.Length, alignment);
        try
        {
            // What is written must be readable: the reader's rules are the format's.
            _ = GgufHeader.Read("the file to write", header, data + offset);
        }
        catch (GgufException exception)
        {
            throw new ArgumentException(exception.Message, nameof(tensors), exception);
        }

        return new GgufLayout(header, [.. entries.Select(entry => entry with { Offset = data + entry.Offset })], data + offset);
    }

    private static void Write(Stream stream, uint value)
    {
        Span<byte> bytes = stackalloc byte[sizeof(uint)];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        stream.Write(bytes);
    }

    private static void Write(Stream stream, ulong value)
    {
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        stream.Write(bytes);
    }
}
