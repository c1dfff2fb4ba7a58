using System.Buffers.Binary;
using System.IO.MemoryMappedFiles;
using System.Text.Unicode;

namespace Nibble.Formats.Safetensors;

/// <summary>A safetensors file, mapped into memory and fully validated when opened.</summary>
/// <remarks>
/// Format: huggingface/safetensors, README.md. Tensors are read on demand, so opening costs the header only. Reading is safe from
/// several threads. The file must not shrink while it is open.
/// </remarks>
public sealed class SafetensorsFile : IDisposable
{
    private readonly MemoryMappedFile _file;
    private readonly MemoryMappedViewAccessor _view;
    private readonly Dictionary<string, SafetensorsEntry> _byName;

    private SafetensorsFile(string path, long length, MemoryMappedFile file, MemoryMappedViewAccessor view)
    {
        Path = path;
        _file = file;
        _view = view;
        (Tensors, Metadata) = ReadHeader(length);
        _byName = Tensors.ToDictionary(tensor => tensor.Name, StringComparer.Ordinal);
    }

    /// <summary>The file's path.</summary>
    public string Path { get; }

    /// <summary>The tensors, in the order in which they stand in the file.</summary>
    public IReadOnlyList<SafetensorsEntry> Tensors { get; }

    /// <summary>The header's free-form metadata.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>Opens a file and validates its header against its length.</summary>
    /// <exception cref="SafetensorsException">The file breaks the format in any way.</exception>
    /// <exception cref="NibbleException">There is no such file.</exception>
    public static SafetensorsFile Open(string path)
    {
        if (!File.Exists(path))
        {
            throw new NibbleException($"There is no file {path}.");
        }

        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 1);
        var length = stream.Length;
        if (length < SafetensorsHeader.LengthSize)
        {
            throw new SafetensorsException(path, 0, $"a safetensors file starts with an 8-byte header length, found {length} bytes in all");
        }

        MemoryMappedFile? file = null;
        MemoryMappedViewAccessor? view = null;
        try
        {
            file = MemoryMappedFile.CreateFromFile(stream, mapName: null, length, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: true);
            view = file.CreateViewAccessor(0, length, MemoryMappedFileAccess.Read);
            return new SafetensorsFile(path, length, file, view);
        }
        catch
        {
            view?.Dispose();
            file?.Dispose();
            throw;
        }
    }

    /// <summary>Whether the file holds a tensor.</summary>
    public bool Contains(string name) => _byName.ContainsKey(name);

    /// <summary>The tensor of a name.</summary>
    /// <exception cref="NibbleException">There is no such tensor.</exception>
    public SafetensorsEntry Entry(string name) =>
        _byName.TryGetValue(name, out var entry) ? entry : throw new NibbleException($"{Path} holds no tensor {name}.");

    /// <summary>Reads a floating-point tensor, widened to <see cref="float"/>, row by row.</summary>
    /// <exception cref="SafetensorsException">The tensor is not F32, F16 or BF16, or has more elements than an array can hold.</exception>
    /// <exception cref="NibbleException">There is no such tensor.</exception>
    public float[] ReadFloats(string name)
    {
        var entry = Entry(name);
        if (!entry.ElementType.IsFloatingPoint())
        {
            throw new SafetensorsException(Path, entry.Offset, $"tensor {name} is {entry.ElementType}; expected F32, F16 or BF16");
        }

        var values = new float[ArrayLength(entry, entry.Count)];
        const int ChunkElements = 1 << 20;
        var size = entry.ElementType.ByteSize();
        for (var start = 0; start < values.Length; start += ChunkElements)
        {
            var chunk = values.AsSpan(start, Math.Min(ChunkElements, values.Length - start));
            Access(entry.Offset + ((long)start * size), chunk.Length * size, chunk, static (bytes, target, type) => type.ToSingles(bytes, target), entry.ElementType);
        }

        return values;
    }

    /// <summary>Reads a tensor's bytes.</summary>
    /// <exception cref="SafetensorsException">The tensor is larger than an array can be.</exception>
    /// <exception cref="NibbleException">There is no such tensor.</exception>
    public byte[] ReadBytes(string name)
    {
        var entry = Entry(name);
        var bytes = new byte[ArrayLength(entry, entry.ByteLength)];
        Access(entry.Offset, bytes.Length, bytes.AsSpan(), static (source, target, _) => source.CopyTo(target), entry.ElementType);
        return bytes;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _view.Dispose();
        _file.Dispose();
    }

    private (IReadOnlyList<SafetensorsEntry> Tensors, IReadOnlyDictionary<string, string> Metadata) ReadHeader(long fileLength)
    {
        var prefix = new byte[SafetensorsHeader.LengthSize];
        Access(0, prefix.Length, prefix.AsSpan(), static (source, target, _) => source.CopyTo(target), default);
        var length = BinaryPrimitives.ReadUInt64LittleEndian(prefix);
        if (length > SafetensorsHeader.MaxLength)
        {
            throw new SafetensorsException(Path, 0, $"the header claims {length} bytes, above the format's limit of {SafetensorsHeader.MaxLength}; is this a safetensors file?");
        }

        if ((long)length > fileLength - SafetensorsHeader.LengthSize)
        {
            throw new SafetensorsException(Path, 0, $"the header claims {length} bytes, the file has {fileLength} in all: it was cut short; copy or download it again");
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
        byte* start = null;
        var handle = _view.SafeMemoryMappedViewHandle;
        handle.AcquirePointer(ref start);
        try
        {
            reading(new ReadOnlySpan<byte>(start + _view.PointerOffset + offset, length), target, type);
        }
        finally
        {
            handle.ReleasePointer();
        }
    }
}
