using Nibble.Recipes;

namespace Nibble.Planning;

/// <summary>Typical losses of options that could not be tried, from the loss of round to nearest at the same bit width.</summary>
internal static class TypicalLosses
{
    /// <summary>How many times smaller or larger the true loss may be: the widest spread seen on the models of docs/explanation/advisor.md.</summary>
    private const double Spread = 3;

    /// <summary>The typical loss of an option over the float model.</summary>
    /// <param name="candidate">The option.</param>
    /// <param name="nearest">The loss of round to nearest at its bit width, in nats per token.</param>
    public static Estimate Of(Candidate candidate, double nearest)
    {
        ArgumentNullException.ThrowIfNull(candidate);
        var share = candidate.Trains ? 0.2 : candidate.Recipe.Rules.Where(rule => rule.Weights is not null).Max(rule => Share(rule.Algorithms));
        var defaults = Math.Max(0, nearest) * share;
        return new Estimate(defaults, defaults / Spread, defaults * Spread);
    }

    /// <summary>Medians of the tables in docs/results/ptq.md.</summary>
    private static double Share(WeightAlgorithms algorithms) => algorithms.Rounding switch
    {
        WeightRounding.Gptq => 0.45,
        WeightRounding.Gptaq => 0.32,
        _ => 0.9,
    };
}
