using static TorchSharp.torch;

namespace Nibble.Torch.Layers;

/// <summary>Says which tokens of a padded batch are real, to all that gathers statistics of what layers read: observers, ranges and scales of training,
/// Hessians.</summary>
/// <remarks>
/// <para>Padding is computed along but means nothing: a range, a moment or a count that it enters is that of another text. So whoever runs a padded batch
/// through layers says so for the time of the pass; <see cref="Models.Bert.BertModel"/> does it itself. Statistics then leave out the padding of every
/// tensor [batch, length, ...]. Tensors of other sides, such as a pooled vector for each sequence, are taken whole.</para>
/// <para>A pass is that of the thread that began it. Outside of one all tokens are real.</para>
/// </remarks>
public static class TokenMask
{
    [ThreadStatic]
    private static Tensor? current;

    /// <summary>Begins a pass over a padded batch, which ends when what is returned is disposed.</summary>
    /// <param name="mask">Which tokens are no padding, bool [batch, length]; it must live as long as the pass. Null where all are real.</param>
    /// <exception cref="ArgumentException">The mask is no bool tensor of two sides.</exception>
    public static IDisposable Begin(Tensor? mask)
    {
        if (mask is null)
        {
            var whole = new Pass(current);
            current = null;
            return whole;
        }

        if (mask.dtype != ScalarType.Bool || mask.dim() != 2)
        {
            throw new ArgumentException($"A mask of tokens is bool [batch, length]; found {mask.dtype} [{string.Join(", ", mask.shape)}].", nameof(mask));
        }

        var pass = new Pass(current);
        using var scope = NewDisposeScope();
        current = mask.all().item<bool>() ? null : mask;
        return pass;
    }

    /// <summary>What belongs to real tokens, a row each: [tokens, width].</summary>
    internal static Tensor Rows(Tensor x) => Of(x) is { } mask ? x[mask] : x.reshape(-1, x.shape[^1]);

    /// <summary>What belongs to real tokens: the tensor itself, or [tokens, ...] where some of it is padding.</summary>
    internal static Tensor Select(Tensor x) => Of(x) is { } mask ? x[mask] : x;

    /// <summary>How many values belong to real tokens.</summary>
    internal static long Count(Tensor x)
    {
        using var scope = NewDisposeScope();
        return Of(x) is { } mask ? x.numel() / mask.numel() * mask.sum().item<long>() : x.numel();
    }

    /// <summary>Which tokens of a tensor are real, bool [batch, length]; null where all are.</summary>
    internal static Tensor? Of(Tensor x) => current is { } mask && x.dim() > 2 && x.shape[0] == mask.shape[0] && x.shape[1] == mask.shape[1] ? mask : null;

    private sealed class Pass(Tensor? before) : IDisposable
    {
        public void Dispose() => current = before;
    }
}
