using System.Globalization;
using System.IO.MemoryMappedFiles;
using Nibble.Files;
using Nibble.Formats.Gguf.Blocks;

namespace Nibble.Formats.Gguf;

/// <summary>A GGUF file. Opening it validates the whole header. Tensors are read on demand.</summary>
/// <remarks>
/// Definition: ggml-org/ggml, <c>docs/gguf.md</c>. Several threads can read at once. The file must not shrink while it is open.
/// </remarks>
internal sealed class GgufFile : IDisposable
{
    private readonly FileStream stream;
    private readonly Dictionary<string, GgufEntry> byName;
    private readonly Dictionary<string, GgufValue> byKey;

    private GgufFile(string path, FileStream stream)
    {
        Path = path;
        this.stream = stream;
        (Metadata, Tensors, Alignment) = ReadHeader();
        byName = Tensors.ToDictionary(tensor => tensor.Name, StringComparer.Ordinal);
        byKey = Metadata.ToDictionary(StringComparer.Ordinal);
    }

    /// <summary>The file's path.</summary>
    public string Path { get; }

    /// <summary>The metadata, in the file's order.</summary>
    public IReadOnlyList<KeyValuePair<string, GgufValue>> Metadata { get; }

    /// <summary>The tensors, in the file's order.</summary>
    public IReadOnlyList<GgufEntry> Tensors { get; }

    /// <summary>The alignment of tensors, in bytes.</summary>
    public uint Alignment { get; }

    /// <summary>Opens a file and validates its header against its length.</summary>
    /// <exception cref="GgufException">The file violates the format.</exception>
    /// <exception cref="NibbleException">The file does not exist.</exception>
    public static GgufFile Open(string path)
    {
        if (!File.Exists(path))
        {
            throw new NibbleException(Directory.Exists(path) ? $"{path} is a folder, expected a GGUF file." : $"There is no file {path}.");
        }

        InputFile.RequireRegular(path);
        var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 1);
        try
        {
            return new GgufFile(path, stream);
        }
        catch
        {
            stream.Dispose();
            throw;
        }
    }

    /// <summary>Throws if the file holds only part of a model.</summary>
    /// <exception cref="NibbleException">The file is one of several that a model was split into.</exception>
    public void RequireWhole()
    {
        if (Find("split.count")?.AsInteger() is > 1 and var parts)
        {
            throw new NibbleException(string.Create(
                CultureInfo.InvariantCulture,
                $"{Path}: the file is part {Find("split.no")?.AsInteger() + 1} of {parts} of a model, expected the whole model in one file; "
                    + $"join the parts with llama.cpp's llama-gguf-split --merge"));
        }
    }

    /// <summary>Finds the metadata value of a key; null if there is none.</summary>
    public GgufValue? Find(string key) => byKey.GetValueOrDefault(key);

    /// <summary>Finds a tensor by name; null if there is none.</summary>
    public GgufEntry? FindTensor(string name) => byName.GetValueOrDefault(name);

    /// <summary>Reads consecutive bytes of a tensor.</summary>
    /// <param name="tensor">A tensor of this file.</param>
    /// <param name="start">The first byte to read.</param>
    /// <param name="destination">Receives the bytes.</param>
    /// <exception cref="GgufException">The file became shorter after it was opened.</exception>
    public void ReadBytes(GgufEntry tensor, long start, Span<byte> destination)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        ArgumentOutOfRangeException.ThrowIfNegative(start);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(destination.Length, tensor.ByteLength - start, nameof(destination));
        for (var done = 0; done < destination.Length;)
        {
            var read = RandomAccess.Read(stream.SafeFileHandle, destination[done..], tensor.Offset + start + done);
            done += read > 0 ? read : throw new GgufException(
                Path, tensor.Offset + start + done, $"tensor {tensor.Name} is cut off here, although the file was long enough when it was opened");
        }
    }

    /// <summary>Reads a tensor's values in row-major order.</summary>
    /// <exception cref="GgufException">The tensor holds integers or too many values for an array, or the file became shorter after it was
    /// opened.</exception>
    public float[] ReadFloats(GgufEntry tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        var count = tensor.ByteLength / tensor.Type.BlockBytes() * tensor.Type.BlockSize();
        if (count > Array.MaxLength || tensor.ByteLength > Array.MaxLength)
        {
            throw new GgufException(Path, tensor.Offset, $"tensor {tensor.Name} has {count} values; at most {Array.MaxLength} can be read into an array");
        }

        var bytes = new byte[tensor.ByteLength];
        ReadBytes(tensor, 0, bytes);
        var values = new float[count];
        Dequantize(tensor, bytes, values);
        return values;
    }

    /// <summary>Dequantizes blocks of a tensor.</summary>
    /// <param name="tensor">A tensor of this file.</param>
    /// <param name="blocks">Whole blocks of the tensor.</param>
    /// <param name="values">Receives as many values as the blocks hold.</param>
    /// <exception cref="GgufException">The tensor holds integers.</exception>
    public void Dequantize(GgufEntry tensor, ReadOnlySpan<byte> blocks, Span<float> values)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        if (BlockCodecs.Find(tensor.Type) is not { } codec)
        {
            throw new GgufException(Path, tensor.Offset, $"tensor {tensor.Name} is {tensor.Type}; expected one of {string.Join(", ", BlockCodecs.Types)}");
        }

        codec.Dequantize(blocks, values);
    }

    /// <inheritdoc/>
    public void Dispose() => stream.Dispose();

    private unsafe (IReadOnlyList<KeyValuePair<string, GgufValue>> Metadata, IReadOnlyList<GgufEntry> Tensors, uint Alignment) ReadHeader()
    {
        var length = stream.Length;
        if (length == 0)
        {
            return GgufHeader.Read(Path, [], 0);
        }

        // Memory-mapped, because the end of the header is only known after reading it. Pages that are not touched cost nothing.
        using var file = MemoryMappedFile.CreateFromFile(
            stream, mapName: null, length, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: true);
        using var view = file.CreateViewAccessor(0, Math.Min(length, Array.MaxLength), MemoryMappedFileAccess.Read);
        byte* start = null;
        var handle = view.SafeMemoryMappedViewHandle;
        handle.AcquirePointer(ref start);
        try
        {
            return GgufHeader.Read(Path, new ReadOnlySpan<byte>(start + view.PointerOffset, (int)Math.Min(length, Array.MaxLength)), length);
        }
        finally
        {
            handle.ReleasePointer();
        }
    }
}
