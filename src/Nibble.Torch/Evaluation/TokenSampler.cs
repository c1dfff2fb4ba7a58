namespace Nibble.Torch.Evaluation;

/// <summary>Options for sampling text.</summary>
/// <param name="MaxTokens">The maximum number of new tokens, at least 1. Default: 120.</param>
/// <param name="Temperature">The divisor of the logits. 0 always takes the most likely token. Default: 0.8.</param>
/// <param name="TopP">The share of the probability, above 0 to 1, held by the most likely tokens to sample from. Default: 0.95.</param>
/// <param name="Seed">The seed of the sampling. Default: 1.</param>
public sealed record GenerationOptions(int MaxTokens = 120, double Temperature = 0.8, double TopP = 0.95, long Seed = 1);

/// <summary>Draws tokens from a model's predictions: the most likely one, or by temperature and nucleus sampling (Holtzman et al. 2020).</summary>
internal sealed class TokenSampler(GenerationOptions options)
{
    private readonly Random random = SeededRandom.Create(options.Seed);

    /// <summary>Draws a token.</summary>
    /// <param name="logits">One logit per token of the vocabulary. Negative infinity excludes a token.</param>
    /// <exception cref="NibbleException">A logit is NaN or positive infinity.</exception>
    public int Pick(ReadOnlySpan<float> logits)
    {
        var best = IndexOfMax(logits);
        foreach (var logit in logits)
        {
            if (float.IsNaN(logit) || float.IsPositiveInfinity(logit))
            {
                throw new NibbleException(
                    "the model's logits hold NaN or infinite values, so no token can be drawn: it overflows, or its weights are damaged. Score it on a "
                    + "text to find out where this starts");
            }
        }

        if (options.Temperature <= 0)
        {
            return best;
        }

        // Negative, because Sort puts the lowest values first.
        var shares = new double[logits.Length];
        var order = new int[logits.Length];
        var sum = 0d;
        for (var i = 0; i < shares.Length; i++)
        {
            shares[i] = -Math.Exp((logits[i] - (double)logits[best]) / options.Temperature);
            order[i] = i;
            sum -= shares[i];
        }

        Array.Sort(shares, order);
        var kept = 0;
        var mass = 0d;
        while (kept < shares.Length && mass < options.TopP * sum)
        {
            mass -= shares[kept++];
        }

        var draw = random.NextDouble() * mass;
        for (var i = 0; i < kept; i++)
        {
            draw += shares[i];
            if (draw < 0)
            {
                return order[i];
            }
        }

        return order[Math.Max(0, kept - 1)];
    }

    private static int IndexOfMax(ReadOnlySpan<float> values)
    {
        var best = 0;
        for (var i = 1; i < values.Length; i++)
        {
            best = values[i] > values[best] ? i : best;
        }

        return best;
    }
}
