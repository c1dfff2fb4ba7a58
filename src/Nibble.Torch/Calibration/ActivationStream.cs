using Nibble.Files;
using System.Diagnostics;
using System.IO.Hashing;
using System.Runtime.InteropServices;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Calibration;

/// <summary>
/// The calibration activations between two blocks: [tokens, width] values of each piece, in a file and also in memory if they fit.
/// </summary>
/// <remarks>
/// A killed run resumes from the file, so it is always written. It appears under its name only when it is complete. Values are binary32 in the machine's byte
/// order, because the file never leaves the machine. A checksum follows them (<see cref="ChecksummedFile"/>). Pieces of different lengths are stored
/// without padding. Padding is added only when pieces are read as a batch.
/// </remarks>
internal sealed class ActivationStream : IDisposable
{
    /// <summary>The approximate number of tokens per batch, enough to keep the matrix products busy.</summary>
    private const int BatchTokens = 1024;

    /// <summary>Values per read or write. A span cannot hold the bytes of more than 2^29 values.</summary>
    private const int PieceValues = 1 << 20;

    private readonly FileStream file;
    private readonly float[]? values;
    private readonly string path;
    private readonly int[] lengths;
    private readonly long[] starts;
    private readonly XxHash128 hash = new();
    private int written;

    private ActivationStream(string path, FileStream file, IReadOnlyList<int> lengths, int width, long memoryLimit, int written)
    {
        this.path = path;
        this.file = file;
        this.written = written;
        this.lengths = [.. lengths];
        starts = new long[lengths.Count + 1];
        for (var i = 0; i < lengths.Count; i++)
        {
            starts[i + 1] = starts[i] + lengths[i];
        }

        Width = width;
        var count = Tokens * width;
        values = count * sizeof(float) <= memoryLimit && count <= Array.MaxLength ? new float[count] : null;
    }

    /// <summary>The number of pieces.</summary>
    public int Count => lengths.Length;

    /// <summary>The number of tokens in all pieces.</summary>
    public long Tokens => starts[^1];

    /// <summary>The number of tokens in each piece.</summary>
    public IReadOnlyList<int> Lengths => lengths;

    /// <summary>Values per token.</summary>
    public int Width { get; }

    /// <summary>The time spent in visits, which grows with the number of tokens.</summary>
    public TimeSpan Visiting { get; private set; }

    /// <summary>Creates a stream to be filled with <see cref="Append"/>.</summary>
    /// <param name="path">The file's path once it is complete.</param>
    /// <param name="lengths">The number of tokens in each piece.</param>
    /// <param name="width">Values per token.</param>
    /// <param name="memoryLimit">The maximum number of bytes of values to keep in memory too.</param>
    public static ActivationStream Create(string path, IReadOnlyList<int> lengths, int width, long memoryLimit) =>
        new(path, new FileStream(Unfinished(path), FileMode.Create, FileAccess.ReadWrite, FileShare.None, bufferSize: 1), lengths, width, memoryLimit,
            written: 0);

    /// <summary>Opens a stream that an earlier run has completed. Returns null if there is none.</summary>
    /// <exception cref="DamagedFileException">The file is damaged.</exception>
    public static ActivationStream? TryOpen(string path, IReadOnlyList<int> lengths, int width, long memoryLimit)
    {
        if (!File.Exists(path))
        {
            return null;
        }

        ChecksummedFile.Require(path, OutputJob.Remedy);
        var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 1);
        var stream = new ActivationStream(path, file, lengths, width, memoryLimit, lengths.Count);
        var (found, expected) = (file.Length, (stream.Tokens * width * sizeof(float)) + ChecksummedFile.ChecksumLength);
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

    /// <summary>Adds pieces, [batch, length, width]. The padding of shorter pieces is removed.</summary>
    /// <param name="batch">The pieces.</param>
    /// <param name="what">A description of the pieces, for messages.</param>
    /// <exception cref="NibbleException">A value is NaN or infinite.</exception>
    public void Append(Tensor batch, string what = "the stream")
    {
        using var scope = NewDisposeScope();
        var count = (int)batch.shape[0];
        var real = Mask(lengths.AsSpan(written, count), batch.device) is { } mask ? batch.detach()[mask] : batch.detach();
        var added = real.cpu().contiguous().data<float>().ToArray();
        if (FiniteValues.IndexOfFault(added) is >= 0 and var fault)
        {
            var token = starts[written] + (fault / Width);
            var piece = Array.FindLastIndex(starts, start => start <= token);
            throw new NibbleException(
                $"{what} holds NaN or infinite values, first at token {token - starts[piece]} of calibration window {piece}. The model overflows on this text");
        }

        for (var rest = added.AsSpan(); !rest.IsEmpty; rest = rest[Math.Min(PieceValues, rest.Length)..])
        {
            var bytes = MemoryMarshal.AsBytes(rest[..Math.Min(PieceValues, rest.Length)]);
            hash.Append(bytes);
            file.Write(bytes);
        }

        if (values is not null)
        {
            added.CopyTo(values, starts[written] * Width);
        }

        written += count;
    }

    /// <summary>Gives the file its final name. After that, it survives the process.</summary>
    public void Complete()
    {
        if (written != Count)
        {
            throw new InvalidOperationException($"{written} of {Count} pieces were written.");
        }

        file.Write(hash.GetCurrentHash());
        file.Flush(flushToDisk: true);
        File.Move(Unfinished(path), path, overwrite: true);
    }

    /// <summary>Reads consecutive pieces, [count, length, width] on a device, padded to the longest of them.</summary>
    public BlockInput Read(int first, int count, Device device) => Read([.. Enumerable.Range(first, count)], device);

    /// <summary>Reads pieces, [count, length, width] on a device, padded to the longest of them.</summary>
    public BlockInput Read(int[] pieces, Device device)
    {
        using var scope = NewDisposeScope();
        var own = Array.ConvertAll(pieces, piece => lengths[piece]);
        var longest = own.Max();
        var read = new float[pieces.Length * longest * Width];
        for (var i = 0; i < pieces.Length; i++)
        {
            var into = read.AsSpan(i * longest * Width, own[i] * Width);
            if (values is not null)
            {
                values.AsSpan((int)(starts[pieces[i]] * Width), into.Length).CopyTo(into);
            }
            else
            {
                file.Position = starts[pieces[i]] * Width * sizeof(float);
                ReadFloats(file, into);
            }
        }

        return new BlockInput(
            tensor(read, pieces.Length, longest, Width, device: device).MoveToOuterDisposeScope(),
            Mask(own, device)?.MoveToOuterDisposeScope());
    }

    /// <summary>Visits all pieces in order, a batch at a time. Each visit has its own dispose scope and no gradients.</summary>
    /// <param name="device">The device of the tensors.</param>
    /// <param name="visit">Receives the index of the first piece of a batch, and the batch.</param>
    /// <param name="cancellation">Cancels between batches.</param>
    public void ForEach(Device device, Action<int, BlockInput> visit, CancellationToken cancellation)
    {
        var started = Stopwatch.GetTimestamp();
        using var guard = no_grad();
        for (var first = 0; first < Count; first += BatchSize(lengths, first))
        {
            cancellation.ThrowIfCancellationRequested();
            using var pause = CollectorPause.Begin();
            using var scope = NewDisposeScope();
            visit(first, Read(first, BatchSize(lengths, first), device));
        }

        Visiting += Stopwatch.GetElapsedTime(started);
    }

    /// <summary>The number of pieces in a batch.</summary>
    /// <param name="lengths">The number of tokens in each piece.</param>
    /// <param name="first">The index of the batch's first piece.</param>
    public static int BatchSize(IReadOnlyList<int> lengths, int first)
    {
        var (count, longest) = (1, lengths[first]);
        while (first + count < lengths.Count && Math.Max(longest, lengths[first + count]) * (count + 1) <= BatchTokens)
        {
            longest = Math.Max(longest, lengths[first + count]);
            count++;
        }

        return count;
    }

    /// <summary>The number of windows in a batch, for windows of one length.</summary>
    public static int BatchSize(int length) => Math.Max(1, BatchTokens / length);

    /// <inheritdoc/>
    public void Dispose() => file.Dispose();

    /// <summary>Closes the stream and deletes its file.</summary>
    public void Delete()
    {
        Dispose();
        File.Delete(path);
    }

    /// <summary>True for tokens that are not padding, bool [pieces, longest]. Null if there is no padding.</summary>
    private static Tensor? Mask(ReadOnlySpan<int> lengths, Device device)
    {
        var longest = 0;
        var same = true;
        foreach (var length in lengths)
        {
            (longest, same) = (Math.Max(longest, length), same && length == lengths[0]);
        }

        if (same)
        {
            return null;
        }

        var mask = new bool[lengths.Length * longest];
        for (var i = 0; i < lengths.Length; i++)
        {
            mask.AsSpan(i * longest, lengths[i]).Fill(true);
        }

        return tensor(mask, lengths.Length, longest, device: device);
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
