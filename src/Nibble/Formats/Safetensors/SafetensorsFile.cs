using System.Buffers.Binary;
using System.IO.MemoryMappedFiles;
using System.Text.Unicode;
using Nibble.Files;

namespace Nibble.Formats.Safetensors;

/// <summary>A safetensors file, mapped into memory. Opening it validates the whole file structure.</summary>
/// <remarks>
/// Format: huggingface/safetensors, README.md. Tensors are read on demand, so opening a file reads only the header. Only the parts being read are mapped,
/// so a file larger than memory never becomes resident. Several threads can read at once. The file must not shrink while it is open.
/// </remarks>
public sealed class SafetensorsFile : IDisposable
{
    private readonly MemoryMappedFile file;
    private readonly Dictionary<string, SafetensorsEntry> byName;

    private SafetensorsFile(string path, long length, MemoryMappedFile file)
    {
        Path = path;
        this.file = file;
        (Tensors, Metadata) = ReadHeader(length);
        byName = Tensors.ToDictionary(tensor => tensor.Name, StringComparer.Ordinal);
    }

    /// <summary>The file's path.</summary>
    public string Path { get; }

    /// <summary>The tensors, in file order.</summary>
    public IReadOnlyList<SafetensorsEntry> Tensors { get; }

    /// <summary>The header's free-form metadata.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>Opens a file and validates its header against its length.</summary>
    /// <exception cref="SafetensorsException">The file violates the format.</exception>
    /// <exception cref="NibbleException">The file does not exist.</exception>
    public static SafetensorsFile Open(string path)
    {
        if (!File.Exists(path))
        {
            throw new NibbleException($"There is no file {path}.");
        }

        InputFile.RequireRegular(path);
        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 1);
        var length = stream.Length;
        if (length < SafetensorsHeader.LengthSize)
        {
            throw new SafetensorsException(path, 0, $"a safetensors file starts with an 8-byte header length, found {length} bytes in total");
        }

        MemoryMappedFile? file = null;
        try
        {
            file = MemoryMappedFile.CreateFromFile(stream, mapName: null, length, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: true);
            return new SafetensorsFile(path, length, file);
        }
        catch
        {
            file?.Dispose();
            throw;
        }
    }

    /// <summary>Whether the file has a tensor.</summary>
    public bool Contains(string name) => byName.ContainsKey(name);

    /// <summary>Finds a tensor by name.</summary>
    /// <exception cref="NibbleException">The tensor does not exist.</exception>
    public SafetensorsEntry Entry(string name) =>
        byName.TryGetValue(name, out var entry) ? entry : throw new NibbleException($"{Path} has no tensor {name}.");

    /// <summary>Reads a floating-point tensor in row-major order, widened to <see cref="float"/>.</summary>
    /// <exception cref="SafetensorsException">The tensor is not F32, F16 or BF16, or has more elements than an array can hold.</exception>
    /// <exception cref="NibbleException">The tensor does not exist.</exception>
    public float[] ReadFloats(string name)
    {
        var entry = Entry(name);
        var values = new float[ArrayLength(entry, entry.Count)];
        ReadFloats(name, 0, values);
        return values;
    }

    /// <summary>Reads consecutive values of a floating-point tensor, widened to <see cref="float"/>.</summary>
    /// <param name="name">The tensor's name.</param>
    /// <param name="start">The row-major index of the first element to read.</param>
    /// <param name="destination">Receives the values.</param>
    /// <exception cref="SafetensorsException">The tensor is not F32, F16 or BF16.</exception>
    /// <exception cref="NibbleException">The tensor does not exist.</exception>
    /// <exception cref="ArgumentOutOfRangeException">The tensor has fewer values.</exception>
    public void ReadFloats(string name, long start, Span<float> destination)
    {
        var entry = Entry(name);
        if (!entry.ElementType.IsFloatingPoint())
        {
            throw new SafetensorsException(Path, entry.Offset, $"tensor {name} is {entry.ElementType}; expected F32, F16 or BF16");
        }

        ArgumentOutOfRangeException.ThrowIfNegative(start);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(start, entry.Count - destination.Length);
        const int ChunkElements = 1 << 20;
        var size = entry.ElementType.ByteSize();
        for (var done = 0L; done < destination.Length; done += ChunkElements)
        {
            var chunk = destination.Slice((int)done, (int)Math.Min(ChunkElements, destination.Length - done));
            Access(entry.Offset + ((start + done) * size), chunk.Length * size, chunk, static (bytes, target, type) => type.ToSingles(bytes, target),
                entry.ElementType);
        }
    }

    /// <summary>The index and value of the first NaN or infinity in a floating-point tensor; null if all values are finite.</summary>
    /// <exception cref="NibbleException">The tensor does not exist.</exception>
    /// <exception cref="ArgumentException">The tensor is not F32, F16 or BF16.</exception>
    internal (long Index, float Value)? FindNonFinite(string name)
    {
        var entry = Entry(name);
        var size = entry.ElementType.ByteSize();
        var found = new int[1];
        const int ChunkElements = 1 << 22;
        for (var done = 0L; done < entry.Count; done += ChunkElements)
        {
            Access(
                entry.Offset + (done * size),
                (int)Math.Min(ChunkElements, entry.Count - done) * size,
                found.AsSpan(),
                static (source, target, type) => target[0] = FiniteValues.IndexOfFault(type, source),
                entry.ElementType);
            if (found[0] >= 0)
            {
                var value = new float[1];
                ReadFloats(name, done + found[0], value);
                return (done + found[0], value[0]);
            }
        }

        return null;
    }

    /// <summary>Copies a tensor's bytes to a stream in parts.</summary>
    /// <exception cref="NibbleException">The tensor does not exist.</exception>
    public void CopyTo(string name, Stream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        var entry = Entry(name);
        var buffer = new byte[(int)Math.Min(entry.ByteLength, 1 << 20)];
        for (var done = 0L; done < entry.ByteLength; done += buffer.Length)
        {
            var chunk = buffer.AsSpan(0, (int)Math.Min(buffer.Length, entry.ByteLength - done));
            Access(entry.Offset + done, chunk.Length, chunk, static (source, target, _) => source.CopyTo(target), entry.ElementType);
            stream.Write(chunk);
        }
    }

    /// <summary>Reads a tensor's bytes.</summary>
    /// <exception cref="SafetensorsException">The tensor is too large for an array.</exception>
    /// <exception cref="NibbleException">The tensor does not exist.</exception>
    public byte[] ReadBytes(string name)
    {
        var entry = Entry(name);
        var bytes = new byte[ArrayLength(entry, entry.ByteLength)];
        Access(entry.Offset, bytes.Length, bytes.AsSpan(), static (source, target, _) => source.CopyTo(target), entry.ElementType);
        return bytes;
    }

    /// <inheritdoc/>
    public void Dispose() => file.Dispose();

    private (IReadOnlyList<SafetensorsEntry> Tensors, IReadOnlyDictionary<string, string> Metadata) ReadHeader(long fileLength)
    {
        var prefix = new byte[SafetensorsHeader.LengthSize];
        Access(0, prefix.Length, prefix.AsSpan(), static (source, target, _) => source.CopyTo(target), default);
        var length = BinaryPrimitives.ReadUInt64LittleEndian(prefix);
        if (length > SafetensorsHeader.MaxLength)
        {
            throw new SafetensorsException(
                Path, 0, $"the header claims {length} bytes, above the format's limit of {SafetensorsHeader.MaxLength}; is this a safetensors file?");
        }

        if ((long)length > fileLength - SafetensorsHeader.LengthSize)
        {
            throw new SafetensorsException(
                Path, 0, $"the header claims {length} bytes, but the file has only {fileLength}. It was cut short; copy or download it again");
        }

        var json = new byte[length];
        Access(SafetensorsHeader.LengthSize, json.Length, json.AsSpan(), static (source, target, _) => source.CopyTo(target), default);
        if (!Utf8.IsValid(json))
        {
            throw new SafetensorsException(Path, SafetensorsHeader.LengthSize, "the header is not valid UTF-8");
        }

        return SafetensorsHeader.Read(Path, json, fileLength);
    }

    private int ArrayLength(SafetensorsEntry entry, long length) => length <= Array.MaxLength
        ? (int)length
        : throw new SafetensorsException(Path, entry.Offset, $"tensor {entry.Name} has {length} elements; at most {Array.MaxLength} can be read into an array");

    private delegate void Reading<T>(ReadOnlySpan<byte> source, Span<T> target, ElementType type);

    private unsafe void Access<T>(long offset, int length, Span<T> target, Reading<T> reading, ElementType type)
    {
        if (length == 0)
        {
            // A view of zero bytes would extend to the end of the file.
            reading([], target, type);
            return;
        }

        using var view = file.CreateViewAccessor(offset, length, MemoryMappedFileAccess.Read);
        byte* start = null;
        var handle = view.SafeMemoryMappedViewHandle;
        handle.AcquirePointer(ref start);
        try
        {
            reading(new ReadOnlySpan<byte>(start + view.PointerOffset, length), target, type);
        }
        finally
        {
            handle.ReleasePointer();
        }
    }
}
