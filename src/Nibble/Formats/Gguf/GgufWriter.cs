using System.Buffers.Binary;
using Nibble.Files;

namespace Nibble.Formats.Gguf;

/// <summary>A tensor to write.</summary>
/// <param name="Name">The tensor's name, 1 to 63 bytes of UTF-8.</param>
/// <param name="Type">How its values are stored.</param>
/// <param name="Dimensions">One to four sizes, fastest first. The first fills whole blocks.</param>
/// <param name="Write">Writes exactly the tensor's bytes. Called when it is the tensor's turn.</param>
internal sealed record GgufTensor(string Name, GgufType Type, IReadOnlyList<long> Dimensions, Action<Stream> Write);

/// <summary>Writes GGUF files of version 3. Equal metadata and tensors in equal order give equal bytes.</summary>
internal static class GgufWriter
{
    /// <summary>Writes a file under a temporary name and renames it when it is complete.</summary>
    /// <param name="path">The file to write.</param>
    /// <param name="metadata">The metadata, in file order.</param>
    /// <param name="tensors">The tensors, in file order.</param>
    /// <param name="replace">Whether to replace an existing file. Otherwise an existing file is an error.</param>
    /// <exception cref="IOException">The disk is full.</exception>
    /// <exception cref="NibbleException">The file exists and must not be replaced.</exception>
    /// <exception cref="ArgumentException">A name repeats or is too long, a shape does not fill whole blocks, the alignment is invalid, or a tensor writes
    /// more or fewer bytes than its shape requires.</exception>
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
                    throw new ArgumentException(
                        $"Tensor {tensors[i].Name} ended at byte {stream.Position}, but its shape requires byte {end}.", nameof(tensors));
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

/// <summary>The layout of a GGUF file to write.</summary>
internal sealed class GgufLayout
{
    private GgufLayout(byte[] header, IReadOnlyList<GgufEntry> tensors, long length)
    {
        Header = header;
        Tensors = tensors;
        Length = length;
    }

    /// <summary>Everything before the tensors, without the padding after it.</summary>
    public byte[] Header { get; }

    /// <summary>The tensors with their positions.</summary>
    public IReadOnlyList<GgufEntry> Tensors { get; }

    /// <summary>The size of the file in bytes, including the padding of the last tensor.</summary>
    public long Length { get; }

    /// <summary>Computes the layout of a file.</summary>
    /// <exception cref="ArgumentException">A name repeats or is too long, a shape does not fill whole blocks, or the alignment is invalid.</exception>
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
                $"Tensor {name} of type {type} has the shape [{string.Join(", ", dimensions)}], which does not fill whole blocks.", nameof(tensors));
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
            // The file must be readable, and the reader enforces the rules of the format.
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
