using Nibble.Models;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Models;

/// <summary>Pools a text's token vectors into one vector, as sentence-transformers does (Reimers and Gurevych 2019, section 3).</summary>
internal static class SentencePooling
{
    /// <summary>The minimum length that a vector is divided by.</summary>
    private const double LeastLength = 1e-12;

    /// <summary>Pools token vectors.</summary>
    /// <param name="tokens">The tokens' vectors, [batch, length, hidden].</param>
    /// <param name="mask">True for tokens that are not padding, bool [batch, length]. Null if there is no padding.</param>
    /// <param name="pooling">The kind of pooling.</param>
    /// <param name="normalizes">Whether the result is scaled to length 1.</param>
    /// <returns>[batch, hidden].</returns>
    public static Tensor Apply(Tensor tokens, Tensor? mask, Pooling pooling, bool normalizes)
    {
        ArgumentNullException.ThrowIfNull(tokens);
        using var scope = NewDisposeScope();
        var pooled = (pooling, mask) switch
        {
            (Pooling.FirstToken, _) => tokens.select(1, 0),
            (Pooling.Mean, null) => tokens.mean([1L]),
            (Pooling.Mean, _) => (tokens * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim: true).ClampMin(1),
            (Pooling.Max, null) => tokens.amax([1L]),
            (Pooling.Max, _) => tokens.MaskedFill(mask.unsqueeze(-1).logical_not(), float.MinValue).amax([1L]),
            _ => throw new ArgumentOutOfRangeException(nameof(pooling), pooling, null),
        };
        return (normalizes ? nn.functional.normalize(pooled, dim: 1, eps: LeastLength) : pooled).MoveToOuterDisposeScope();
    }
}
