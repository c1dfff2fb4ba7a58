using System.Buffers.Binary;
using System.IO.Compression;
using Nibble.Files;

namespace Nibble.Onnx.Data;

/// <summary>Images as records of equal size in one file: CIFAR-10's binary files, and MNIST's IDX files.</summary>
internal sealed class RecordSamples : IFileSamples
{
    private const int CifarSide = 32;
    private const int MostSide = 1 << 14;
    private const string Idx = "idx3-ubyte";
    private const string Compressed = ".gz";

    private readonly string path;
    private readonly ImageInput input;
    private readonly bool isIdx;
    private readonly int count;
    private readonly int width;
    private readonly int height;

    private RecordSamples(string path, ImageInput input, bool isIdx)
    {
        (this.path, this.input, this.isIdx) = (path, input, isIdx);
        if (isIdx)
        {
            using var stream = OpenStream();
            (count, width, height) = Guard(() => ReadIdxHeader(stream));
            if (stream is FileStream && stream.Length != stream.Position + ((long)count * RecordBytes))
            {
                throw new NibbleException($"{path}: {stream.Length} bytes, expected {stream.Position + ((long)count * RecordBytes)} for {count} images of "
                    + $"{width} x {height} pixels; the file is damaged: copy it again");
            }

            return;
        }

        (width, height) = (CifarSide, CifarSide);
        var length = InputFile.Length(path);
        count = length > 0 && length % RecordBytes == 0 && length / RecordBytes <= int.MaxValue ? (int)(length / RecordBytes)
            : throw new NibbleException($"{path}: {length} bytes, expected a multiple of {RecordBytes}: CIFAR-10's records of a label and 3 x {CifarSide} x "
                + $"{CifarSide} pixels");
    }

    /// <inheritdoc/>
    public long? Count => count;

    /// <inheritdoc/>
    public string Description => $"{count} {(count == 1 ? "image" : "images")} of {path}";

    private int RecordBytes => isIdx ? width * height : 1 + (Pixels.Channels * width * height);

    /// <summary>Whether a file has the name of an IDX file of images.</summary>
    public static bool IsIdx(string path) =>
        (path.EndsWith(Compressed, StringComparison.OrdinalIgnoreCase) ? path[..^Compressed.Length] : path).EndsWith(Idx, StringComparison.OrdinalIgnoreCase);

    /// <summary>Opens a file.</summary>
    /// <param name="path">An IDX file, compressed or not, or a file of CIFAR-10.</param>
    /// <param name="input">The input that the images are for.</param>
    /// <exception cref="NibbleException">The file is damaged or something else.</exception>
    public static RecordSamples Open(string path, ImageInput input)
    {
        InputFile.RequireRegular(path);
        return new RecordSamples(path, input, IsIdx(path));
    }

    /// <inheritdoc/>
    public IEnumerable<PlacedSample> Read()
    {
        using var stream = OpenStream();
        if (isIdx)
        {
            Guard(() => ReadIdxHeader(stream));
        }

        var record = new byte[RecordBytes];
        for (var i = 0; i < count; i++)
        {
            var origin = $"{path}, image {i}";
            Guard(() =>
            {
                NpyHeader.ReadExactly(stream, record, origin);
                return record;
            });
            var image = isIdx ? Pixels.Grey(width, height, record) : Pixels.Planar(width, height, record.AsSpan(1));
            yield return new PlacedSample([input.Convert(image, origin)], origin);
        }

        if (Guard(stream.ReadByte) >= 0)
        {
            throw new NibbleException($"{path} goes on after its {count} images; the file is damaged: copy it again");
        }
    }

    private Stream OpenStream() => path.EndsWith(Compressed, StringComparison.OrdinalIgnoreCase)
        ? new GZipStream(File.OpenRead(path), CompressionMode.Decompress) : File.OpenRead(path);

    private T Guard<T>(Func<T> read)
    {
        try
        {
            return read();
        }
        catch (InvalidDataException exception)
        {
            throw new NibbleException($"{path} is not valid gzip: {exception.Message}", exception);
        }
    }

    private (int Count, int Width, int Height) ReadIdxHeader(Stream stream)
    {
        const int images = 0x0803;
        Span<byte> header = stackalloc byte[16];
        NpyHeader.ReadExactly(stream, header, path);
        var (magic, number) = (BinaryPrimitives.ReadInt32BigEndian(header), BinaryPrimitives.ReadInt32BigEndian(header[4..]));
        var (rows, columns) = (BinaryPrimitives.ReadInt32BigEndian(header[8..]), BinaryPrimitives.ReadInt32BigEndian(header[12..]));
        return magic == images && number > 0 && rows is > 0 and <= MostSide && columns is > 0 and <= MostSide ? (number, columns, rows)
            : throw new NibbleException($"{path} begins with {magic:X8} and {number} images of {columns} x {rows} pixels, expected {images:X8} and at "
                + $"least one image of at most {MostSide} x {MostSide}");
    }
}
