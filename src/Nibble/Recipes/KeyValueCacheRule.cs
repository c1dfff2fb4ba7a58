using Nibble.Numerics;

namespace Nibble.Recipes;

/// <summary>How the keys and values of past tokens that attention caches are quantized.</summary>
/// <remarks>
/// Per token, each key-value head's vector has its own scale and zero point, computed when the token is cached. Keys can instead be
/// quantized per channel, because some of their channels are much larger than the others in every token (KIVI, Liu et al. 2024). Each channel of
/// a head then has a scale and zero point that calibration fixes.
/// </remarks>
public sealed record KeyValueCacheRule
{
    /// <summary>Creates a rule.</summary>
    /// <param name="keys">The keys' scheme, per token or per channel; null keeps them in float.</param>
    /// <param name="values">The values' scheme, per token; null keeps them in float.</param>
    /// <param name="observer">Sets the range of a key's channel. Unused per token.</param>
    /// <exception cref="ArgumentException">Keys and values both stay in float, are ternary, or have another granularity.</exception>
    public KeyValueCacheRule(QuantizationScheme? keys, QuantizationScheme? values, ObserverKind observer = ObserverKind.MinMax)
    {
        if (keys is null && values is null)
        {
            throw new ArgumentException("Keys and values both stay in float; omit the rule.", nameof(keys));
        }

        if (keys is { Format: CodeFormat.Ternary } or { Granularity: not (PerToken or PerChannel) })
        {
            throw new ArgumentException($"Keys are quantized to integers per token or channel, found '{keys}'.", nameof(keys));
        }

        if (values is { Format: CodeFormat.Ternary } or { Granularity: not PerToken })
        {
            throw new ArgumentException($"Values are quantized to integers per token, found '{values}'.", nameof(values));
        }

        Keys = keys;
        Values = values;
        Observer = HasStaticKeys ? observer : ObserverKind.MinMax;
    }

    /// <summary>The keys' scheme, per token or per channel; null keeps them in float.</summary>
    public QuantizationScheme? Keys { get; }

    /// <summary>The values' scheme, per token; null keeps them in float.</summary>
    public QuantizationScheme? Values { get; }

    /// <summary>The observer that sets the range of a key's channel; min-max if keys are not per channel.</summary>
    public ObserverKind Observer { get; }

    /// <summary>Whether calibration fixes the keys' parameters.</summary>
    public bool HasStaticKeys => Keys is { Granularity: PerChannel };
}
