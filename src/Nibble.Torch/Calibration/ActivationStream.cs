using Nibble.Files;
using System.Diagnostics;
using System.IO.Hashing;
using System.Runtime.InteropServices;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Calibration;

/// <summary>What the calibration pieces are between two blocks: [tokens, width] values of each in a file, and in memory where they are few.</summary>
/// <remarks>
/// The file is what a killed run resumes from, so it is always written; it appears under its name only once it is whole. Values are
/// binary32 in the machine's byte order: the file never leaves it. A checksum follows them (<see cref="ChecksummedFile"/>). Pieces of different lengths
/// stand one behind the other without padding, which they have only where they are read side by side.
/// </remarks>
internal sealed class ActivationStream : IDisposable
{
    /// <summary>Tokens that are worked on at once, about: as many keep the matrix products busy.</summary>
    private const int BatchTokens = 1024;

    /// <summary>Values that go through the file at once: the bytes of more than 2^29 are beyond a span.</summary>
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

    /// <summary>Pieces.</summary>
    public int Count => lengths.Length;

    /// <summary>Tokens of all pieces.</summary>
    public long Tokens => starts[^1];

    /// <summary>Tokens of each piece.</summary>
    public IReadOnlyList<int> Lengths => lengths;

    /// <summary>Values of a token.</summary>
    public int Width { get; }

    /// <summary>How long visits have taken, which grows with the tokens.</summary>
    public TimeSpan Visiting { get; private set; }

    /// <summary>Begins a stream that is filled by <see cref="Append"/>.</summary>
    /// <param name="path">The file it will be, once complete.</param>
    /// <param name="lengths">Tokens of each piece.</param>
    /// <param name="width">Values of a token.</param>
    /// <param name="memoryLimit">Bytes up to which the values are held in memory too.</param>
    public static ActivationStream Create(string path, IReadOnlyList<int> lengths, int width, long memoryLimit) =>
        new(path, new FileStream(Unfinished(path), FileMode.Create, FileAccess.ReadWrite, FileShare.None, bufferSize: 1), lengths, width, memoryLimit,
            written: 0);

    /// <summary>Opens a stream that a run before has completed; null where there is none.</summary>
    /// <exception cref="DamagedFileException">The file is not what was written.</exception>
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

    /// <summary>Adds pieces, [batch, length, width], without the padding of those that are shorter than the longest of them.</summary>
    /// <param name="batch">The pieces.</param>
    /// <param name="what">What they are, for messages.</param>
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
                $"{what} holds NaN or infinite values, first at token {token - starts[piece]} of calibration window {piece}: the model overflows on this text");
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

    /// <summary>Gives the file its name, after which it survives the process.</summary>
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

    /// <summary>Visits all pieces in order, a few at a time, each inside a dispose scope of its own and without gradients.</summary>
    /// <param name="device">Where the tensors are to be.</param>
    /// <param name="visit">Is given the number of the first piece and some of them.</param>
    /// <param name="cancellation">Stops between batches.</param>
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

    /// <summary>How many pieces are worked on at once.</summary>
    /// <param name="lengths">Tokens of each.</param>
    /// <param name="first">The first of them.</param>
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

    /// <summary>How many windows of one length are worked on at once.</summary>
    public static int BatchSize(int length) => Math.Max(1, BatchTokens / length);

    /// <inheritdoc/>
    public void Dispose() => file.Dispose();

    /// <summary>Closes the stream and deletes its file.</summary>
    public void Delete()
    {
        Dispose();
        File.Delete(path);
    }

    /// <summary>Which tokens are real, bool [pieces, longest]; null where all are.</summary>
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
