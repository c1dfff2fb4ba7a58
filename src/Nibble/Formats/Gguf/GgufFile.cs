using System.Globalization;
using System.IO.MemoryMappedFiles;
using Nibble.Files;
using Nibble.Formats.Gguf.Blocks;

namespace Nibble.Formats.Gguf;

/// <summary>A GGUF file, its header fully validated when opened; tensors are read on demand.</summary>
/// <remarks>
/// Definition: ggml-org/ggml, <c>docs/gguf.md</c>. Reading is safe from several threads. The file must not shrink while it is open.
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

    /// <summary>The tensors begin at multiples of this.</summary>
    public uint Alignment { get; }

    /// <summary>Opens a file and validates its header against its length.</summary>
    /// <exception cref="GgufException">The file breaks the format in any way.</exception>
    /// <exception cref="NibbleException">There is no such file.</exception>
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

    /// <summary>Refuses a file that holds only a part of a model's tensors.</summary>
    /// <exception cref="NibbleException">The model was split into several files, of which this is one.</exception>
    public void RequireWhole()
    {
        if (Find("split.count")?.AsInteger() is > 1 and var parts)
        {
            throw new NibbleException(string.Create(
                CultureInfo.InvariantCulture,
                $"{Path}: the file is part {Find("split.no")?.AsInteger() + 1} of {parts} of a model, expected all in one file; "
                    + $"join the parts with llama.cpp's llama-gguf-split --merge"));
        }
    }

    /// <summary>The metadata of a key; null where there is none.</summary>
    public GgufValue? Find(string key) => byKey.GetValueOrDefault(key);

    /// <summary>The tensor of a name; null where there is none.</summary>
    public GgufEntry? FindTensor(string name) => byName.GetValueOrDefault(name);

    /// <summary>Reads consecutive bytes of a tensor.</summary>
    /// <param name="tensor">A tensor of this file.</param>
    /// <param name="start">The first byte to read.</param>
    /// <param name="destination">Receives the bytes.</param>
    /// <exception cref="GgufException">The file has become shorter.</exception>
    public void ReadBytes(GgufEntry tensor, long start, Span<byte> destination)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        ArgumentOutOfRangeException.ThrowIfNegative(start);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(destination.Length, tensor.ByteLength - start, nameof(destination));
        for (var done = 0; done < destination.Length;)
        {
            var read = RandomAccess.Read(stream.SafeFileHandle, destination[done..], tensor.Offset + start + done);
            done += read > 0 ? read : throw new GgufException(
                Path, tensor.Offset + start + done, $"tensor {tensor.Name} ends here, though the file was long enough when it was opened");
        }
    }

    /// <summary>Reads a tensor's values, row by row.</summary>
    /// <exception cref="GgufException">The tensor holds integers or more values than an array can, or the file has become shorter.</exception>
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

    /// <summary>The values of a tensor's bytes.</summary>
    /// <param name="tensor">A tensor of this file.</param>
    /// <param name="blocks">Whole blocks of it.</param>
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

        // Mapped, since only reading it tells where the header ends; what is not touched costs nothing.
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
