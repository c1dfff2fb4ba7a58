using Nibble.Recipes;

namespace Nibble.Planning;

/// <summary>What options that could not be tried usually lose, from what round to nearest loses at the same width.</summary>
internal static class UsualLosses
{
    /// <summary>How many times smaller or larger the true loss may be: the widest spread seen on the models of docs/advisor.md.</summary>
    private const double Spread = 3;

    /// <summary>The usual loss of an option over the float model.</summary>
    /// <param name="candidate">The option.</param>
    /// <param name="nearest">What round to nearest loses at its width, nats per token.</param>
    public static Estimate Of(Candidate candidate, double nearest)
    {
        ArgumentNullException.ThrowIfNull(candidate);
        var share = candidate.Trains ? 0.2 : candidate.Recipe.Rules.Where(rule => rule.Weights is not null).Max(rule => Share(rule.Algorithms));
        var usual = Math.Max(0, nearest) * share;
        return new Estimate(usual, usual / Spread, usual * Spread);
    }

    /// <summary>Medians of the tables in docs/results.md.</summary>
    private static double Share(WeightAlgorithms algorithms) => algorithms.Rounding switch
    {
        WeightRounding.Gptq => 0.45,
        WeightRounding.Gptaq => 0.32,
        _ => 0.9,
    };
}
