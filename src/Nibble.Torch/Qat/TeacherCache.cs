using Nibble.Torch.Data;
using Nibble.Files;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Qat;

/// <summary>Where to keep a teacher's predictions, so that training runs that draw the same windows need no second forward pass.</summary>
/// <param name="Folder">The folder. Predictions for another teacher, text, length or temperature are kept separately in it.</param>
/// <param name="Likeliest">
/// The number of top tokens to keep of each prediction, at least 1. The size of the vocabulary or more keeps all. Default: 128.
/// </param>
public sealed record TeacherCacheOptions(string Folder, int Likeliest = TeacherCacheOptions.DefaultLikeliest)
{
    /// <summary>
    /// The default of <see cref="Likeliest"/>. This many tokens hold nearly all of the probability in small vocabularies and most of it in large ones.
    /// </summary>
    public const int DefaultLikeliest = 128;
}

/// <summary>A teacher's most likely next tokens, with the logarithms of their probabilities at its temperature.</summary>
/// <param name="LogProbabilities">[positions, tokens], values that binary16 can represent.</param>
/// <param name="Tokens">Their ids, int64 of the same shape. Null if all tokens are kept, in their order.</param>
internal sealed record TeacherPrediction(Tensor LogProbabilities, Tensor? Tokens);

/// <summary>A teacher's predictions on disk, a file per window.</summary>
/// <remarks>
/// A record holds, before its checksum, the logarithms of the k highest probabilities of each position in binary16, and k token ids in 32 bits if k is below
/// the vocabulary's size. Predictions that are missing are computed and written, and then used exactly as they will be read. The result therefore does not
/// depend on what was cached.
/// </remarks>
internal sealed class TeacherCache
{
    /// <summary>Values that are hashed at once. A span cannot hold the bytes of more than 2^29 values.</summary>
    private const int PieceValues = 1 << 20;

    private const string RecordFormat = "checksummed";
    private const string Remedy = "delete the file to compute it again";

    private readonly string folder;
    private readonly int positions;
    private readonly int vocabulary;
    private readonly int kept;
    private readonly double temperature;

    /// <summary>Opens the part of a folder that belongs to a teacher and a text.</summary>
    /// <param name="options">The folder.</param>
    /// <param name="teacher">The teacher.</param>
    /// <param name="data">The data that the windows come from.</param>
    /// <param name="length">Tokens per window.</param>
    /// <param name="temperature">The divisor of the logits.</param>
    public TeacherCache(TeacherCacheOptions options, IQuantizableModel teacher, ITaskData data, int length, double temperature)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Likeliest, 1, nameof(options));
        this.temperature = temperature;
        positions = length - 1;
        vocabulary = teacher.Definition.VocabularySize;
        kept = Math.Min(options.Likeliest, vocabulary);
        if (RecordBytes > Array.MaxLength - ChecksummedFile.ChecksumLength)
        {
            throw new NibbleException(
                $"the teacher's predictions of a window of {length} tokens take {RecordBytes} bytes with {kept} tokens per prediction, "
                + $"and at most {Array.MaxLength} can be kept. Keep fewer tokens per prediction");
        }

        var key = string.Join(
            '\n',
            [
                HashOf(teacher),
                data.Hash,
                string.Create(CultureInfo.InvariantCulture, $"{length} {temperature:R} {kept} {RecordFormat}"),
            ]);
        folder = Path.Combine(options.Folder, Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(key)))[..16]);
        Directory.CreateDirectory(folder);
    }

    /// <summary>A hash of all parameters, because a teacher may have been trained since it was loaded.</summary>
    private static string HashOf(IQuantizableModel model)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var (_, parameter) in model.Parameters())
        {
            var values = Conversion.ValuesOf(parameter);
            for (var rest = values.AsSpan(); !rest.IsEmpty; rest = rest[Math.Min(PieceValues, rest.Length)..])
            {
                hash.AppendData(MemoryMarshal.AsBytes(rest[..Math.Min(PieceValues, rest.Length)]));
            }
        }

        return Convert.ToHexString(hash.GetHashAndReset());
    }

    private bool HasAll => kept == vocabulary;

    private long RecordBytes => (long)positions * kept * (HasAll ? 2 : 2 + sizeof(int));

    /// <summary>The predictions for windows, one after the other.</summary>
    /// <param name="starts">The start positions of the windows.</param>
    /// <param name="compute">Computes the logits, [windows, positions, vocabulary], of some of the windows.</param>
    /// <exception cref="NibbleException">A record does not have its expected size.</exception>
    public TeacherPrediction Get(ReadOnlySpan<int> starts, Func<int[], Tensor> compute)
    {
        using var scope = NewDisposeScope();
        int[] missing = [.. starts.ToArray().Distinct().Where(start => !File.Exists(RecordPath(start)))];
        if (missing.Length > 0)
        {
            Write(missing, compute(missing));
        }

        // One window at a time: with a large vocabulary kept as a whole, a batch would have more values than an array can hold.
        var records = starts.ToArray().Select(Read).ToList();
        return new TeacherPrediction(
            cat([.. records.Select(record => record.LogProbabilities)]).MoveToOuterDisposeScope(),
            HasAll ? null : cat([.. records.Select(record => record.Tokens!)]).MoveToOuterDisposeScope());
    }

    private string RecordPath(int start) => Path.Combine(folder, start.ToString(CultureInfo.InvariantCulture) + ".bin");

    private void Write(int[] starts, Tensor logits)
    {
        var logProbabilities = logits.DividedBy(temperature).log_softmax(-1).cpu();
        Tensor? tokens = null;
        if (!HasAll)
        {
            (logProbabilities, tokens) = logProbabilities.topk(kept, -1);
        }

        for (var i = 0; i < starts.Length; i++)
        {
            var values = logProbabilities[i].to(float16).contiguous().data<Half>().ToArray();
            var ids = tokens?[i].to(int32).contiguous().data<int>().ToArray() ?? [];
            ChecksummedFile.Write(RecordPath(starts[i]), stream =>
            {
                stream.Write(MemoryMarshal.AsBytes(values.AsSpan()));
                stream.Write(MemoryMarshal.AsBytes(ids.AsSpan()));
            });
        }
    }

    /// <summary>The predictions for one window.</summary>
    private TeacherPrediction Read(int start)
    {
        var path = RecordPath(start);
        var bytes = ChecksummedFile.Read(path, Remedy);
        if (bytes.Length != RecordBytes)
        {
            throw new DamagedFileException(path, $"found {bytes.Length} bytes, expected {RecordBytes} of a teacher's predictions", Remedy);
        }

        var size = positions * kept * 2;
        var values = MemoryMarshal.Cast<byte, Half>(bytes.AsSpan(0, size)).ToArray();
        var ids = MemoryMarshal.Cast<byte, int>(bytes.AsSpan(size));
        var tokens = new long[ids.Length];
        for (var i = 0; i < ids.Length; i++)
        {
            tokens[i] = (uint)ids[i] < (uint)vocabulary
                ? ids[i]
                : throw new DamagedFileException(path, $"found the token {ids[i]}, expected 0 to {vocabulary - 1}", Remedy);
        }

        return new TeacherPrediction(tensor(values, positions, kept).to(float32), HasAll ? null : tensor(tokens, positions, kept));
    }
}
