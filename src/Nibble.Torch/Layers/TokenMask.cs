using static TorchSharp.torch;

namespace Nibble.Torch.Layers;

/// <summary>
/// Marks the real tokens of a padded batch for all code that collects statistics of layer inputs: observers, ranges and scales in training, and Hessians.
/// </summary>
/// <remarks>
/// <para>Padding is computed like other tokens, but must not affect ranges, moments or counts. Code that runs a padded batch through layers therefore declares
/// the mask for the duration of the pass. <see cref="Models.Bert.BertModel"/> does this automatically. Statistics then exclude the padding of every tensor
/// [batch, length, ...]. Tensors of other shapes, for example one pooled vector per sequence, are used as a whole.</para>
/// <para>A pass belongs to the thread that started it. Outside a pass, all tokens are real.</para>
/// </remarks>
public static class TokenMask
{
    [ThreadStatic]
    private static Tensor? current;

    /// <summary>Begins a pass over a padded batch. The pass ends when the returned object is disposed.</summary>
    /// <param name="mask">
    /// True for tokens that are not padding, bool [batch, length]. It must live as long as the pass. Null if there is no padding.
    /// </param>
    /// <exception cref="ArgumentException">The mask is not a bool tensor with two axes.</exception>
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
            throw new ArgumentException($"A token mask must be bool [batch, length], found {mask.dtype} [{string.Join(", ", mask.shape)}].", nameof(mask));
        }

        var pass = new Pass(current);
        using var scope = NewDisposeScope();
        current = mask.all().item<bool>() ? null : mask;
        return pass;
    }

    /// <summary>The rows of real tokens: [tokens, width].</summary>
    internal static Tensor Rows(Tensor x) => Of(x) is { } mask ? x[mask] : x.reshape(-1, x.shape[^1]);

    /// <summary>The values of real tokens: the tensor itself, or [tokens, ...] if it contains padding.</summary>
    internal static Tensor Select(Tensor x) => Of(x) is { } mask ? x[mask] : x;

    /// <summary>The number of values that belong to real tokens.</summary>
    internal static long Count(Tensor x)
    {
        using var scope = NewDisposeScope();
        return Of(x) is { } mask ? x.numel() / mask.numel() * mask.sum().item<long>() : x.numel();
    }

    /// <summary>True for the real tokens of a tensor, bool [batch, length]. Null if all are real.</summary>
    internal static Tensor? Of(Tensor x) => current is { } mask && x.dim() > 2 && x.shape[0] == mask.shape[0] && x.shape[1] == mask.shape[1] ? mask : null;

    private sealed class Pass(Tensor? before) : IDisposable
    {
        public void Dispose() => current = before;
    }
}
