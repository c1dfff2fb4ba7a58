using System.Buffers;
using System.Buffers.Binary;
using System.Text.Encodings.Web;
using System.Text.Json;
using Nibble.Files;

namespace Nibble.Formats.Safetensors;

/// <summary>A tensor to write.</summary>
/// <param name="Name">The tensor's name.</param>
/// <param name="ElementType">How its elements are stored.</param>
/// <param name="Shape">Its shape; empty for a scalar.</param>
/// <param name="Write">Writes exactly the tensor's bytes, little-endian. Called when it is the tensor's turn.</param>
public sealed record SafetensorsTensor(string Name, ElementType ElementType, IReadOnlyList<long> Shape, Action<Stream> Write)
{
    /// <summary>Creates a tensor from its bytes.</summary>
    public static SafetensorsTensor FromBytes(string name, ElementType type, IReadOnlyList<long> shape, ReadOnlyMemory<byte> bytes) =>
        new(name, type, shape, stream => stream.Write(bytes.Span));

    /// <summary>Creates a tensor from floating-point values, which are narrowed to <paramref name="type"/> (half to even) when written.</summary>
    /// <param name="name">The tensor's name.</param>
    /// <param name="type">F32, F16 or BF16.</param>
    /// <param name="shape">Its shape.</param>
    /// <param name="values">Its values in row-major order.</param>
    public static SafetensorsTensor FromFloats(string name, ElementType type, IReadOnlyList<long> shape, ReadOnlyMemory<float> values) =>
        new(name, type, shape, stream => type.Write(values.Span, stream));
}

/// <summary>Writes safetensors files. Equal tensors give equal bytes in any order.</summary>
public static class SafetensorsWriter
{
    private const string ChecksumName = "checksum";

    private static readonly JsonWriterOptions Options = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Writes a file under a temporary name and renames it when it is complete.</summary>
    /// <remarks>
    /// As in the reference writer, tensors are ordered by decreasing element size, then by name. The header is padded with spaces to a multiple of 8 bytes,
    /// so that every tensor is aligned to its elements. Metadata is ordered by key.
    /// </remarks>
    /// <param name="path">The file to write. An existing file is replaced.</param>
    /// <param name="tensors">The tensors.</param>
    /// <param name="metadata">Free-form metadata.</param>
    /// <exception cref="ArgumentException">Two tensors share a name, a name is reserved, a shape is too large, or a tensor writes more or fewer bytes than
    /// its shape requires.</exception>
    /// <exception cref="IOException">The disk is full.</exception>
    public static void Write(string path, IReadOnlyList<SafetensorsTensor> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        ArgumentNullException.ThrowIfNull(path);
        ArgumentNullException.ThrowIfNull(tensors);
        var ordered = Order(tensors);
        WriteFile(path, ordered, Header(ordered, metadata), checksummed: false);
    }

    /// <summary>Writes a file whose last tensor is the checksum of everything before it.</summary>
    /// <remarks><see cref="ChecksummedFile.Require"/> checks whether such a file is intact.</remarks>
    /// <param name="path">The file to write. An existing file is replaced.</param>
    /// <param name="tensors">The tensors, none of them I8.</param>
    /// <param name="metadata">Free-form metadata.</param>
    /// <exception cref="ArgumentException">As for <see cref="Write"/>, or a tensor is I8.</exception>
    /// <exception cref="IOException">The disk is full.</exception>
    public static void WriteChecksummed(string path, IReadOnlyList<SafetensorsTensor> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        ArgumentNullException.ThrowIfNull(path);
        ArgumentNullException.ThrowIfNull(tensors);
        if (tensors.FirstOrDefault(tensor => tensor.ElementType == ElementType.I8) is { } bytes)
        {
            throw new ArgumentException($"Tensor {bytes.Name} is I8 and would come after the checksum.", nameof(tensors));
        }

        // Tensors are ordered by decreasing element size, so this one is the last.
        var checksum = new SafetensorsTensor(
            ChecksumName, ElementType.I8, [ChecksummedFile.ChecksumLength], stream => ((HashingStream)stream).WriteChecksum());
        var ordered = Order([.. tensors, checksum]);
        WriteFile(path, ordered, Header(ordered, metadata), checksummed: true);
    }

    private static void WriteFile(string path, SafetensorsTensor[] ordered, byte[] header, bool checksummed)
    {
        DiskSpace.Require(path, CountBytes(ordered, header), "the file");
        AtomicFile.Write(path, file =>
        {
            using var hashing = checksummed ? new HashingStream(file) : null;
            var stream = hashing ?? file;
            Span<byte> length = stackalloc byte[SafetensorsHeader.LengthSize];
            BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)header.Length);
            stream.Write(length);
            stream.Write(header);
            foreach (var tensor in ordered)
            {
                var end = stream.Position + ByteLength(tensor);
                tensor.Write(stream);
                if (stream.Position != end)
                {
                    throw new ArgumentException(
                        $"Tensor {tensor.Name} ended at byte {stream.Position}, but its shape requires byte {end}.", nameof(ordered));
                }
            }
        });
    }

    /// <summary>The size in bytes of the file that <see cref="Write"/> would write.</summary>
    /// <param name="tensors">The tensors. Their bytes are not needed.</param>
    /// <param name="metadata">Free-form metadata.</param>
    /// <exception cref="ArgumentException">Two tensors share a name, a name is reserved, or a shape is too large.</exception>
    public static long CountBytes(IReadOnlyList<SafetensorsTensor> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        return CountBytes(tensors, Header(Order(tensors), metadata));
    }

    private static long CountBytes(IReadOnlyList<SafetensorsTensor> tensors, byte[] header) =>
        SafetensorsHeader.LengthSize + header.Length + tensors.Sum(ByteLength);

    private static SafetensorsTensor[] Order(IReadOnlyList<SafetensorsTensor> tensors) =>
        [.. tensors.OrderByDescending(tensor => tensor.ElementType.ByteSize()).ThenBy(tensor => tensor.Name, StringComparer.Ordinal)];

    private static byte[] Header(SafetensorsTensor[] tensors, IReadOnlyDictionary<string, string>? metadata)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer, Options))
        {
            writer.WriteStartObject();
            if (metadata is { Count: > 0 })
            {
                writer.WriteStartObject(SafetensorsHeader.MetadataKey);
                foreach (var (key, value) in metadata.OrderBy(pair => pair.Key, StringComparer.Ordinal))
                {
                    writer.WriteString(key, value);
                }

                writer.WriteEndObject();
            }

            WriteTensors(writer, tensors);
            writer.WriteEndObject();
        }

        var padding = -buffer.WrittenCount & 7;
        buffer.GetSpan(padding)[..padding].Fill((byte)' ');
        buffer.Advance(padding);
        return buffer.WrittenSpan.ToArray();
    }

    private static void WriteTensors(Utf8JsonWriter writer, SafetensorsTensor[] tensors)
    {
        var names = new HashSet<string>(StringComparer.Ordinal) { SafetensorsHeader.MetadataKey };
        var offset = 0L;
        foreach (var tensor in tensors)
        {
            if (!names.Add(tensor.Name))
            {
                throw new ArgumentException($"The name {tensor.Name} is used twice or is reserved.", nameof(tensors));
            }

            var end = checked(offset + ByteLength(tensor));
            writer.WriteStartObject(tensor.Name);
            writer.WriteString("dtype", tensor.ElementType.ToString());
            writer.WriteStartArray("shape");
            foreach (var size in tensor.Shape)
            {
                writer.WriteNumberValue(size);
            }

            writer.WriteEndArray();
            writer.WriteStartArray("data_offsets");
            writer.WriteNumberValue(offset);
            writer.WriteNumberValue(end);
            writer.WriteEndArray();
            writer.WriteEndObject();
            offset = end;
        }
    }

    private static long ByteLength(SafetensorsTensor tensor) =>
        tensor.Shape.All(size => size >= 0) && SafetensorsHeader.ByteLength(tensor.ElementType, tensor.Shape) is { } length
        ? length
        : throw new ArgumentException($"Tensor {tensor.Name} has a negative or oversized shape [{string.Join(", ", tensor.Shape)}].", nameof(tensor));
}
