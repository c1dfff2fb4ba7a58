using System.Diagnostics;
using System.IO.Hashing;
using System.Runtime.InteropServices;
using Nibble.Formats;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Ptq;

/// <summary>What the calibration windows are between two blocks: [windows, length, width] values in a file, and in memory where they are few.</summary>
/// <remarks>
/// The file is what a killed run resumes from, so it is always written; it appears under its name only once it is whole. Values are
/// binary32 in the machine's byte order: the file never leaves it. A checksum follows them (<see cref="ChecksummedFile"/>).
/// </remarks>
internal sealed class ActivationStream : IDisposable
{
    /// <summary>Values that go through the file at once: the bytes of more than 2^29 are beyond a span.</summary>
    private const int PieceValues = 1 << 20;

    private readonly FileStream file;
    private readonly float[]? values;
    private readonly string path;
    private readonly int windowValues;
    private readonly XxHash128 hash = new();
    private int written;

    private ActivationStream(string path, FileStream file, int windows, int length, int width, long memoryLimit, int written)
    {
        this.path = path;
        this.file = file;
        this.written = written;
        Windows = windows;
        Length = length;
        Width = width;
        windowValues = length * width;
        var count = (long)windows * windowValues;
        values = count * sizeof(float) <= memoryLimit && count <= Array.MaxLength ? new float[count] : null;
    }

    /// <summary>Windows.</summary>
    public int Windows { get; }

    /// <summary>Tokens in a window.</summary>
    public int Length { get; }

    /// <summary>Values of a token.</summary>
    public int Width { get; }

    /// <summary>How long visits have taken, which grows with the windows.</summary>
    public TimeSpan Visiting { get; private set; }

    /// <summary>Begins a stream that is filled by <see cref="Append"/>.</summary>
    /// <param name="path">The file it will be, once complete.</param>
    /// <param name="windows">Windows.</param>
    /// <param name="length">Tokens in a window.</param>
    /// <param name="width">Values of a token.</param>
    /// <param name="memoryLimit">Bytes up to which the values are held in memory too.</param>
    public static ActivationStream Create(string path, int windows, int length, int width, long memoryLimit) =>
        new(path, new FileStream(Unfinished(path), FileMode.Create, FileAccess.ReadWrite, FileShare.None, bufferSize: 1), windows, length, width, memoryLimit, written: 0);

    /// <summary>Opens a stream that a run before has completed; null where there is none.</summary>
    /// <exception cref="DamagedFileException">The file is not what was written.</exception>
    public static ActivationStream? TryOpen(string path, int windows, int length, int width, long memoryLimit)
    {
        if (!File.Exists(path))
        {
            return null;
        }

        ChecksummedFile.Require(path, OutputJob.Remedy);
        var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 1);
        var stream = new ActivationStream(path, file, windows, length, width, memoryLimit, windows);
        var (found, expected) = (file.Length, ((long)windows * stream.windowValues * sizeof(float)) + ChecksummedFile.ChecksumLength);
        if (found != expected)
        {
            stream.Dispose();
            throw new DamagedFileException(path, $"found {found} bytes, expected {expected}", OutputJob.Remedy);
        }

        if (stream.values is { } values)
        {
            ReadFloats(file, values);
        }

        return stream;
    }

    /// <summary>Adds windows, [batch, length, width].</summary>
    /// <param name="batch">The windows.</param>
    /// <param name="what">What they are, for messages.</param>
    /// <exception cref="NibbleException">A value is NaN or infinite.</exception>
    public void Append(Tensor batch, string what = "the stream")
    {
        using var scope = NewDisposeScope();
        var added = batch.detach().cpu().contiguous().data<float>().ToArray();
        if (FiniteValues.IndexOfFault(added) is >= 0 and var fault)
        {
            var (window, rest) = Math.DivRem(fault, windowValues);
            throw new NibbleException(
                $"{what} holds NaN or infinite values, first at token {rest / Width} of calibration window {written + window}: the model overflows on this "
                + "text");
        }

        for (var rest = added.AsSpan(); !rest.IsEmpty; rest = rest[Math.Min(PieceValues, rest.Length)..])
        {
            var bytes = MemoryMarshal.AsBytes(rest[..Math.Min(PieceValues, rest.Length)]);
            hash.Append(bytes);
            file.Write(bytes);
        }

        if (values is not null)
        {
            added.CopyTo(values, written * windowValues);
        }

        written += added.Length / windowValues;
    }

    /// <summary>Gives the file its name, after which it survives the process.</summary>
    public void Complete()
    {
        if (written != Windows)
        {
            throw new InvalidOperationException($"{written} of {Windows} windows were written.");
        }

        file.Write(hash.GetCurrentHash());
        file.Flush(flushToDisk: true);
        File.Move(Unfinished(path), path, overwrite: true);
    }

    /// <summary>Reads consecutive windows as a tensor [count, length, width] on a device.</summary>
    public Tensor Read(int first, int count, Device device)
    {
        using var scope = NewDisposeScope();
        float[] read;
        if (values is not null)
        {
            read = values[(first * windowValues)..((first + count) * windowValues)];
        }
        else
        {
            read = new float[count * windowValues];
            file.Position = (long)first * windowValues * sizeof(float);
            ReadFloats(file, read);
        }

        return tensor(read, count, Length, Width, device: device).MoveToOuterDisposeScope();
    }

    /// <summary>Visits all windows in order, a few at a time, each inside a dispose scope of its own and without gradients.</summary>
    /// <param name="device">Where the tensors are to be.</param>
    /// <param name="visit">Is given the number of the first window and a tensor [batch, length, width].</param>
    /// <param name="cancellation">Stops between batches.</param>
    public void ForEach(Device device, Action<int, Tensor> visit, CancellationToken cancellation)
    {
        var started = Stopwatch.GetTimestamp();
        using var guard = no_grad();
        var batch = BatchSize(Length);
        for (var first = 0; first < Windows; first += batch)
        {
            cancellation.ThrowIfCancellationRequested();
            using var pause = CollectorPause.Begin();
            using var scope = NewDisposeScope();
            visit(first, Read(first, Math.Min(batch, Windows - first), device));
        }

        Visiting += Stopwatch.GetElapsedTime(started);
    }

    /// <summary>Windows that are worked on at once: about a thousand tokens keep the matrix products busy.</summary>
    public static int BatchSize(int length) => Math.Max(1, 1024 / length);

    /// <inheritdoc/>
    public void Dispose() => file.Dispose();

    /// <summary>Closes the stream and deletes its file.</summary>
    public void Delete()
    {
        Dispose();
        File.Delete(path);
    }

    private static void ReadFloats(FileStream file, Span<float> values)
    {
        for (; !values.IsEmpty; values = values[Math.Min(PieceValues, values.Length)..])
        {
            file.ReadExactly(MemoryMarshal.AsBytes(values[..Math.Min(PieceValues, values.Length)]));
        }
    }

    private static string Unfinished(string path) => path + ".tmp";
}
