using System.IO.Compression;
using Microsoft.ML.OnnxRuntime;
using Nibble.Files;

namespace Nibble.Onnx.Data;

/// <summary>Samples in <c>.npy</c> and <c>.npz</c> files.</summary>
/// <remarks>
/// An array with one axis more than its input holds one sample per row of its first axis. One with the input's axes is cut along the first axis, into samples
/// of the input's fixed first size or of 1. One that lacks the first axis of the input is one sample.
/// </remarks>
internal sealed class ArraySamples : IFileSamples
{
    private const string Extension = ".npy";

    private readonly string place;
    private readonly Func<Stream> open;
    private readonly bool isArchive;
    private readonly List<Entry> entries;

    private ArraySamples(string place, Func<Stream> open, bool isArchive, IReadOnlyList<GraphInput> wanted)
    {
        (this.place, this.open, this.isArchive) = (place, open, isArchive);
        entries = isArchive ? ArchiveEntries(wanted) : [SingleEntry(GraphInputs.Only(wanted, place))];
        if (entries.Find(entry => entry.Samples != entries[0].Samples) is { } other)
        {
            throw new NibbleException($"{place}: {entries[0].Samples} samples for input '{entries[0].Input.Name}' and {other.Samples} for input "
                + $"'{other.Input.Name}', expected the same number");
        }
    }

    /// <inheritdoc/>
    public long? Count => entries[0].Samples;

    /// <inheritdoc/>
    public string Description => $"{Count} {(Count == 1 ? "sample" : "samples")} of {place}";

    /// <summary>Opens an <c>.npy</c> file, or an <c>.npz</c> file with an array per input.</summary>
    /// <param name="path">The file.</param>
    /// <param name="wanted">The inputs that need data.</param>
    /// <exception cref="NibbleException">The file is broken or does not fit the inputs.</exception>
    public static ArraySamples Open(string path, IReadOnlyList<GraphInput> wanted)
    {
        InputFile.RequireRegular(path);
        return Open(path, () => File.OpenRead(path), path.EndsWith(".npz", StringComparison.OrdinalIgnoreCase), wanted);
    }

    /// <summary>Opens a file from anywhere.</summary>
    /// <param name="place">The file, for messages.</param>
    /// <param name="open">Opens a stream that can seek.</param>
    /// <param name="isArchive">Whether it is an <c>.npz</c> file.</param>
    /// <param name="wanted">The inputs that need data.</param>
    /// <exception cref="NibbleException">The file is broken or does not fit the inputs.</exception>
    internal static ArraySamples Open(string place, Func<Stream> open, bool isArchive, IReadOnlyList<GraphInput> wanted)
    {
        try
        {
            return new ArraySamples(place, open, isArchive, wanted);
        }
        catch (Exception exception) when (IsDamage(exception))
        {
            throw Damaged(place, exception);
        }
    }

    /// <inheritdoc/>
    public IEnumerable<PlacedSample> Read()
    {
        var streams = new List<(Stream File, Stream Elements)>();
        try
        {
            foreach (var entry in entries)
            {
                streams.Add(Guard(() => OpenElements(entry)));
            }

            for (long sample = 0; sample < Count; sample++)
            {
                var origin = $"{place}, sample {sample}";
                var values = Guard(() => entries.Zip(streams, (entry, stream) => ReadSample(entry, stream.Elements, origin)).ToList());
                yield return new PlacedSample(values, origin);
            }
        }
        finally
        {
            foreach (var (file, elements) in streams)
            {
                elements.Dispose();
                file.Dispose();
            }
        }
    }

    private static bool IsDamage(Exception exception) => exception is InvalidDataException or EndOfStreamException or NotSupportedException;

    private static NibbleException Damaged(string place, Exception exception) =>
        new($"{place} is damaged, or is not an .npz file: {exception.Message} Write it with numpy.savez", exception);

    private T Guard<T>(Func<T> read)
    {
        try
        {
            return read();
        }
        catch (Exception exception) when (IsDamage(exception))
        {
            throw Damaged(place, exception);
        }
    }

    private static NamedOnnxValue ReadSample(Entry entry, Stream stream, string origin)
    {
        var bytes = new byte[entry.Sizes.Aggregate((long)entry.Header.ElementBytes, (product, size) => product * size)];
        NpyHeader.ReadExactly(stream, bytes, origin);
        return TensorKind.Of(entry.Input).Create(entry.Input.Name, entry.Sizes, entry.Header.Convert(bytes), origin);
    }

    private Entry SingleEntry(GraphInput input)
    {
        using var stream = open();
        return Divide(input, NpyHeader.Read(stream, stream.Length, place), stream.Length, place, null);
    }

    private List<Entry> ArchiveEntries(IReadOnlyList<GraphInput> wanted)
    {
        using var container = open();
        using var archive = new ZipArchive(container, ZipArchiveMode.Read);
        var found = new List<Entry>();
        foreach (var file in archive.Entries)
        {
            var name = file.FullName.EndsWith(Extension, StringComparison.Ordinal) ? file.FullName[..^Extension.Length] : file.FullName;
            var origin = $"{place}, array '{name}'";
            var input = GraphInputs.Find(wanted, name, origin);
            if (found.Exists(entry => entry.Input == input))
            {
                throw new NibbleException($"{origin} is there twice, expected once");
            }

            using var stream = file.Open();
            found.Add(Divide(input, NpyHeader.Read(stream, file.Length, origin), file.Length, origin, file.FullName));
        }

        return wanted.Where(input => !found.Exists(entry => entry.Input == input)).ToList() is { Count: > 0 } missing
            ? throw new NibbleException($"{place} has no array for {GraphInputs.Names(missing)}, expected one for each of {GraphInputs.Names(wanted)}")
            : found.Count > 0 ? found : throw new NibbleException($"{place} has no arrays");
    }

    /// <summary>Divides an array into samples.</summary>
    private static Entry Divide(GraphInput input, NpyHeader header, long length, string origin, string? file)
    {
        var (shape, rank) = (header.Shape, input.Shape.Count);
        if (shape.Contains(0))
        {
            throw new NibbleException($"{origin} is {header.Type} {header.ShapeText}: it has no elements");
        }

        var (samples, sizes) = (1L, shape);
        if (shape.Count == rank + 1)
        {
            (samples, sizes) = (shape[0], [.. shape.Skip(1)]);
        }
        else if (shape.Count == rank && rank > 0)
        {
            var rows = input.Shape[0] ?? 1;
            samples = rows > 0 && shape[0] % rows == 0 ? shape[0] / rows
                : throw new NibbleException($"{origin} is {header.Type} {header.ShapeText}, expected a first axis of a multiple of {rows} for input "
                    + $"'{input.Name}', which is {input.Text}");
            sizes = [rows, .. shape.Skip(1)];
        }

        if (header.Type[0] == 'f' && !TensorKind.Of(input).IsFloat)
        {
            throw new NibbleException($"{origin} is {header.Type} {header.ShapeText}, and input '{input.Name}' is {input.Text}. Save integers");
        }

        return new Entry(input, header, length, file, samples, input.Fit(sizes, origin));
    }

    /// <summary>Opens an array at its first element.</summary>
    private (Stream File, Stream Elements) OpenElements(Entry entry)
    {
        var file = open();
        try
        {
            // Arrays that are read at the same time each have their own archive, since the streams of one share a position.
            var stream = isArchive ? new ZipArchive(file, ZipArchiveMode.Read).GetEntry(entry.File!)?.Open()
                ?? throw new NibbleException($"{place} changed while it was read") : file;
            _ = NpyHeader.Read(stream, entry.Length, place);
            return (file, stream);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>An array.</summary>
    /// <param name="Input">The input that it gives.</param>
    /// <param name="Header">Its header.</param>
    /// <param name="Length">The bytes of header and elements.</param>
    /// <param name="File">Its name in the archive. Null outside an archive.</param>
    /// <param name="Samples">The number of samples.</param>
    /// <param name="Sizes">The sizes of a sample.</param>
    private sealed record Entry(GraphInput Input, NpyHeader Header, long Length, string? File, long Samples, int[] Sizes);
}
