using System.Runtime.InteropServices;
using System.Security.Cryptography;
using static TorchSharp.torch;

namespace Nibble.Torch.Models;

/// <summary>A batch of token sequences. Sequences start at their first token and are padded at the end.</summary>
/// <param name="Ids">Token ids, int64 [batch, length].</param>
/// <param name="Mask">True for tokens that are not padding, bool [batch, length]. Null if there is no padding.</param>
/// <param name="Types">The text of a pair that each token belongs to, 0 or 1, int64 [batch, length]. Null if each sequence is one text.</param>
public sealed record ModelBatch(Tensor Ids, Tensor? Mask = null, Tensor? Types = null) : IDisposable
{
    /// <summary>Creates a batch of sequences.</summary>
    /// <param name="sequences">The sequences, at least one.</param>
    /// <param name="paddingId">The token that fills shorter sequences.</param>
    /// <param name="change">Receives each position and token of a sequence and returns the token to use instead. Null changes nothing.</param>
    public static ModelBatch Of(IReadOnlyList<TokenSequence> sequences, int paddingId, Func<int, int, int>? change = null)
    {
        ArgumentNullException.ThrowIfNull(sequences);
        var (rows, length) = (sequences.Count, sequences.Max(sequence => sequence.Ids.Length));
        var (ids, mask, types) = (new long[rows * length], new bool[rows * length], new long[rows * length]);
        Array.Fill(ids, paddingId);
        for (var row = 0; row < rows; row++)
        {
            var sequence = sequences[row];
            for (var i = 0; i < sequence.Ids.Length; i++)
            {
                ids[(row * length) + i] = change?.Invoke(i, sequence.Ids[i]) ?? sequence.Ids[i];
                mask[(row * length) + i] = true;
                types[(row * length) + i] = i < sequence.FirstLength ? 0 : 1;
            }
        }

        return new ModelBatch(
            tensor(ids, rows, length),
            Array.TrueForAll(mask, real => real) ? null : tensor(mask, rows, length),
            Array.TrueForAll(types, type => type == 0) ? null : tensor(types, rows, length));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Ids.Dispose();
        Mask?.Dispose();
        Types?.Dispose();
    }
}

/// <summary>The tokens of a text, or of a pair of texts.</summary>
/// <param name="Ids">The ids, including the special tokens for start and end.</param>
/// <param name="FirstLength">The number of tokens that belong to the first text of a pair.</param>
public sealed record TokenSequence(int[] Ids, int FirstLength)
{
    /// <summary>The tokens of one text.</summary>
    public TokenSequence(int[] ids)
        : this(ids, ids?.Length ?? 0)
    {
    }

    /// <summary>A hash of sequences and of additional data.</summary>
    /// <param name="sequences">The sequences.</param>
    /// <param name="more">Additional bytes.</param>
    internal static string HashOf(IEnumerable<TokenSequence> sequences, ReadOnlySpan<byte> more = default)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var sequence in sequences)
        {
            hash.AppendData(MemoryMarshal.AsBytes<int>([sequence.Ids.Length, sequence.FirstLength, .. sequence.Ids]));
        }

        hash.AppendData(more);
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }
}
