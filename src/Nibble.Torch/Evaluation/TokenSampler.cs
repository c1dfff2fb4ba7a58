namespace Nibble.Torch.Evaluation;

/// <summary>How text is sampled.</summary>
/// <param name="MaxTokens">New tokens at most, at least 1.</param>
/// <param name="Temperature">Divides the logits; 0 always takes the likeliest token.</param>
/// <param name="TopP">Samples from the likeliest tokens that hold this share of the probability, above 0 to 1.</param>
/// <param name="Seed">Drives the sampling.</param>
public sealed record GenerationOptions(int MaxTokens = 120, double Temperature = 0.8, double TopP = 0.95, long Seed = 1);

/// <summary>Draws tokens from what a model predicts: the likeliest, or by temperature and nucleus (Holtzman et al. 2020).</summary>
internal sealed class TokenSampler(GenerationOptions options)
{
    private readonly Random random = SeededRandom.Create(options.Seed);

    /// <summary>Draws a token.</summary>
    /// <param name="logits">One for each token of the vocabulary; negative infinity for those that cannot come.</param>
    /// <exception cref="NibbleException">A logit is NaN or positive infinity.</exception>
    public int Pick(ReadOnlySpan<float> logits)
    {
        var best = IndexOfMax(logits);
        foreach (var logit in logits)
        {
            if (float.IsNaN(logit) || float.IsPositiveInfinity(logit))
            {
                throw new NibbleException(
                    "the model's logits hold NaN or infinite values, so that no token can be drawn: it overflows, or its weights are ruined; score it on a "
                    + "text to learn where that begins");
            }
        }

        if (options.Temperature <= 0)
        {
            return best;
        }

        // Negative, since Sort puts the least first.
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
