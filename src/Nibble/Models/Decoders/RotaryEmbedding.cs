namespace Nibble.Models.Decoders;

/// <summary>A rotary position embedding (Su et al. 2021): each pair of a head's channels rotates by an angle that grows with the position.</summary>
/// <param name="Base">The base of the frequencies, above 0.</param>
/// <param name="Channels">How many channels of a head rotate, even: the first ones. Pairs are (i, i + half of them).</param>
public sealed record RotaryEmbedding(double Base, int Channels)
{
    /// <summary>How the frequencies are stretched for long contexts; null for not at all.</summary>
    public RotaryScaling? Scaling { get; init; }

    /// <summary>The factor of cosines and sines, and so of rotated queries and keys.</summary>
    public double Magnitude => Scaling?.Magnitude(this) ?? 1;

    /// <summary>The angles in radians by which the pairs rotate per position; half of <see cref="Channels"/> values.</summary>
    public float[] Frequencies() => [.. Enumerable.Range(0, Channels / 2).Select(pair => (float)Frequency(pair))];

    /// <summary>The angle in radians by which a pair rotates per position.</summary>
    /// <param name="pair">The pair, from 0.</param>
    public double Frequency(int pair)
    {
        var frequency = Plain(pair);
        return Scaling?.Apply(frequency, pair, this) ?? frequency;
    }

    /// <summary>The angle of a pair without scaling.</summary>
    internal double Plain(int pair) => Math.Pow(Base, -2d * pair / Channels);
}

/// <summary>A way to stretch rotary frequencies, so that a model takes longer texts than it was first trained with.</summary>
/// <remarks>Formulas: huggingface/transformers, <c>modeling_rope_utils.py</c>.</remarks>
public abstract record RotaryScaling
{
    /// <summary>The positions up to which the scaling is the same for texts of every length; null for all positions.</summary>
    internal virtual int? SamePositions => null;

    /// <summary>The factor of cosines and sines.</summary>
    internal virtual double Magnitude(RotaryEmbedding rotary) => 1;

    /// <summary>The stretched frequency of a pair.</summary>
    internal abstract double Apply(double frequency, int pair, RotaryEmbedding rotary);
}

/// <summary>Position interpolation (Chen et al. 2023): all frequencies are divided.</summary>
/// <param name="Factor">The divisor.</param>
public sealed record LinearScaling(double Factor) : RotaryScaling
{
    internal override double Apply(double frequency, int pair, RotaryEmbedding rotary) => frequency / Factor;
}

/// <summary>The scaling of Llama 3.1: high frequencies stay, low ones are divided, and those between are blended.</summary>
/// <param name="Factor">The divisor of low frequencies.</param>
/// <param name="LowFrequencyFactor">Wavelengths above original context / this are divided in full.</param>
/// <param name="HighFrequencyFactor">Wavelengths below original context / this are unchanged.</param>
/// <param name="OriginalContext">The context length that the model was first trained with.</param>
public sealed record Llama3Scaling(double Factor, double LowFrequencyFactor, double HighFrequencyFactor, int OriginalContext) : RotaryScaling
{
    internal override double Apply(double frequency, int pair, RotaryEmbedding rotary)
    {
        var turns = OriginalContext * frequency / (2 * Math.PI);
        var blend = Math.Clamp((turns - LowFrequencyFactor) / (HighFrequencyFactor - LowFrequencyFactor), 0, 1);
        return frequency * (blend + ((1 - blend) / Factor));
    }
}

/// <summary>YaRN (Peng et al. 2023): pairs that turn often stay, those that turn less than once are divided, and those between are blended.</summary>
/// <param name="Factor">The divisor.</param>
/// <param name="OriginalContext">The context length that the model was first trained with.</param>
public sealed record YarnScaling(double Factor, int OriginalContext) : RotaryScaling
{
    /// <summary>Pairs that turn more often than this in the original context stay.</summary>
    public double BetaFast { get; init; } = 32;

    /// <summary>Pairs that turn less often than this in the original context are divided in full.</summary>
    public double BetaSlow { get; init; } = 1;

    /// <summary>The factor of cosines and sines; null for the paper's, 0.1 ln(factor) + 1.</summary>
    public double? AttentionFactor { get; init; }

    /// <summary>Whether the first and last blended pair are whole numbers.</summary>
    public bool Truncates { get; init; } = true;

    internal override double Magnitude(RotaryEmbedding rotary) => AttentionFactor ?? (Factor <= 1 ? 1 : (0.1 * Math.Log(Factor)) + 1);

    internal override double Apply(double frequency, int pair, RotaryEmbedding rotary)
    {
        double PairOf(double turns) => rotary.Channels * Math.Log(OriginalContext / (turns * 2 * Math.PI)) / (2 * Math.Log(rotary.Base));
        var (low, high) = (PairOf(BetaFast), PairOf(BetaSlow));
        (low, high) = Truncates ? (Math.Floor(low), Math.Ceiling(high)) : (low, high);
        (low, high) = (Math.Max(low, 0), Math.Min(high, rotary.Channels - 1));
        var divided = Math.Clamp((pair - low) / (high == low ? 0.001 : high - low), 0, 1);
        return (frequency / Factor * divided) + (frequency * (1 - divided));
    }
}

/// <summary>LongRoPE (Ding et al. 2024): every pair has its own divisor, one for short and one for long texts.</summary>
/// <param name="Short">The divisors for texts up to the original context, one per pair.</param>
/// <param name="Long">The divisors for longer texts, one per pair.</param>
/// <param name="OriginalContext">The context length that the model was first trained with.</param>
/// <param name="AttentionFactor">The factor of cosines and sines.</param>
public sealed record LongRopeScaling(IReadOnlyList<double> Short, IReadOnlyList<double> Long, int OriginalContext, double AttentionFactor) : RotaryScaling
{
    /// <inheritdoc/>
    /// <remarks>One text must not see keys of both kinds, so models here take texts up to the original context only.</remarks>
    internal override int? SamePositions => OriginalContext;

    internal override double Magnitude(RotaryEmbedding rotary) => AttentionFactor;

    internal override double Apply(double frequency, int pair, RotaryEmbedding rotary) => frequency / Short[pair];
}
