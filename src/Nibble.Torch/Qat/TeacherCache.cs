using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using Nibble.Formats;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Models.Llama;
using static TorchSharp.torch;

namespace Nibble.Torch.Qat;

/// <summary>Where a teacher's predictions are kept, so that trainings which draw the same windows need no second forward pass.</summary>
/// <param name="Folder">The folder; what is of another teacher, text, length or temperature stands apart in it.</param>
/// <param name="Likeliest">Tokens to keep of each prediction, at least 1; from the vocabulary's size on all are kept.</param>
public sealed record TeacherCacheOptions(string Folder, int Likeliest = TeacherCacheOptions.UsualLikeliest)
{
    /// <summary>Tokens that hold nearly all of the probability in small vocabularies and most in large ones.</summary>
    public const int UsualLikeliest = 128;
}

/// <summary>The likeliest next tokens by a teacher, with the logarithms of their probabilities at its temperature.</summary>
/// <param name="LogProbabilities">[positions, tokens], values that binary16 holds.</param>
/// <param name="Tokens">Their ids, int64 of the same shape; null where all tokens stand in their order.</param>
internal sealed record TeacherPrediction(Tensor LogProbabilities, Tensor? Tokens);

/// <summary>A teacher's predictions on disk, a file per window.</summary>
/// <remarks>
/// A record holds the logarithms of the k greatest probabilities of each position in binary16, and k token ids in 32 bits where k is below the vocabulary's size.
/// What is not there is computed, written and used as it will be read, so that the result does not depend on what was there.
/// </remarks>
internal sealed class TeacherCache
{
    private readonly string folder;
    private readonly int positions;
    private readonly int vocabulary;
    private readonly int kept;
    private readonly double temperature;

    /// <summary>Opens the part of a folder that belongs to a teacher and a text.</summary>
    /// <param name="options">The folder.</param>
    /// <param name="teacher">The teacher.</param>
    /// <param name="text">The text that windows begin in.</param>
    /// <param name="length">Tokens in a window.</param>
    /// <param name="temperature">Divides the logits.</param>
    public TeacherCache(TeacherCacheOptions options, LlamaModel teacher, TokenizedText text, int length, double temperature)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Likeliest, 1, nameof(options));
        this.temperature = temperature;
        positions = length - 1;
        vocabulary = teacher.Config.VocabularySize;
        kept = Math.Min(options.Likeliest, vocabulary);
        var key = string.Join(
            '\n',
            [
                HashOf(teacher),
                Convert.ToHexString(SHA256.HashData(MemoryMarshal.AsBytes(text.Ids.AsSpan()))),
                string.Create(CultureInfo.InvariantCulture, $"{text.StartId} {length} {temperature:R} {kept}"),
            ]);
        folder = Path.Combine(options.Folder, Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(key)))[..16]);
        Directory.CreateDirectory(folder);
    }

    /// <summary>A hash of all parameters: a teacher may have been trained since it was read.</summary>
    private static string HashOf(LlamaModel model)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var (_, parameter) in model.named_parameters())
        {
            hash.AppendData(MemoryMarshal.AsBytes(Conversion.ValuesOf(parameter).AsSpan()));
        }

        return Convert.ToHexString(hash.GetHashAndReset());
    }

    private bool HasAll => kept == vocabulary;

    private int RecordBytes => positions * kept * (HasAll ? 2 : 2 + sizeof(int));

    /// <summary>The predictions for windows, one after the other.</summary>
    /// <param name="starts">Where the windows begin.</param>
    /// <param name="compute">Computes the logits, [windows, positions, vocabulary], of some of them.</param>
    /// <exception cref="NibbleException">A record is not of the size it must have.</exception>
    public TeacherPrediction Get(ReadOnlySpan<int> starts, Func<int[], Tensor> compute)
    {
        using var scope = NewDisposeScope();
        int[] missing = [.. starts.ToArray().Distinct().Where(start => !File.Exists(RecordPath(start)))];
        if (missing.Length > 0)
        {
            Write(missing, compute(missing));
        }

        var values = new Half[starts.Length * positions * kept];
        var tokens = new long[HasAll ? 0 : values.Length];
        for (var i = 0; i < starts.Length; i++)
        {
            Read(RecordPath(starts[i]), values.AsSpan(i * positions * kept, positions * kept), HasAll ? [] : tokens.AsSpan(i * positions * kept, positions * kept));
        }

        var rows = starts.Length * positions;
        return new TeacherPrediction(
            tensor(values, rows, kept).to(float32).MoveToOuterDisposeScope(),
            HasAll ? null : tensor(tokens, rows, kept).MoveToOuterDisposeScope());
    }

    private string RecordPath(int start) => Path.Combine(folder, start.ToString(CultureInfo.InvariantCulture) + ".bin");

    private void Write(int[] starts, Tensor logits)
    {
        var logProbabilities = (logits / temperature).log_softmax(-1).cpu();
        Tensor? tokens = null;
        if (!HasAll)
        {
            (logProbabilities, tokens) = logProbabilities.topk(kept, -1);
        }

        for (var i = 0; i < starts.Length; i++)
        {
            var values = logProbabilities[i].to(float16).contiguous().data<Half>().ToArray();
            var ids = tokens?[i].to(int32).contiguous().data<int>().ToArray() ?? [];
            AtomicFile.Write(RecordPath(starts[i]), stream =>
            {
                stream.Write(MemoryMarshal.AsBytes(values.AsSpan()));
                stream.Write(MemoryMarshal.AsBytes(ids.AsSpan()));
            });
        }
    }

    private void Read(string path, Span<Half> values, Span<long> tokens)
    {
        var bytes = File.ReadAllBytes(path);
        if (bytes.Length != RecordBytes)
        {
            throw new NibbleException($"{path}: found {bytes.Length} bytes, expected {RecordBytes} of a teacher's predictions; delete the file");
        }

        var size = values.Length * 2;
        MemoryMarshal.Cast<byte, Half>(bytes.AsSpan(0, size)).CopyTo(values);
        var ids = MemoryMarshal.Cast<byte, int>(bytes.AsSpan(size));
        for (var i = 0; i < ids.Length; i++)
        {
            tokens[i] = (uint)ids[i] < (uint)vocabulary ? ids[i] : throw new NibbleException($"{path}: found the token {ids[i]}, expected 0 to {vocabulary - 1}; delete the file");
        }
    }
}
