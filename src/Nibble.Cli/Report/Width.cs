using Nibble.Recipes;

namespace Nibble.Cli.Report;

/// <summary>The runs of one width, which share a recipe.</summary>
/// <param name="Recipe">The recipe's name.</param>
/// <param name="Label">The shortest name that is unique among the widths of the comparison, such as <c>4 bits</c> or <c>w4a8</c>.</param>
/// <param name="Runs">Its runs, PTQ first.</param>
internal sealed record Width(string Recipe, string Label, IReadOnlyList<ComparisonRun> Runs)
{
    /// <summary>The best PTQ run; null if there is none.</summary>
    public ComparisonRun? Ptq => BestOf(Method.Ptq);

    /// <summary>The best QAT run; null if there is none.</summary>
    public ComparisonRun? Qat => BestOf(Method.Qat);

    /// <summary>The best hybrid run; null if there is none.</summary>
    public ComparisonRun? Hybrid => BestOf(Method.Hybrid);

    /// <summary>The run with the smallest loss; null if there are fewer than two runs.</summary>
    public ComparisonRun? Best =>
        Runs.Count < 2 ? null : Runs.Where(run => double.IsFinite(run.LossDifference)).MinBy(run => run.LossDifference);

    /// <summary>The widths of a comparison, most bits first.</summary>
    public static IReadOnlyList<Width> Of(ComparisonResult result)
    {
        var groups = result.Runs
            .Where(run => run.Method is not null)
            .GroupBy(run => run.Recipe ?? run.Name)
            .OrderByDescending(group => group.First().WeightBits)
            .ThenByDescending(group => group.First().ActivationBits)
            .ThenBy(group => group.Key, StringComparer.Ordinal)
            .ToList();
        Func<ComparisonRun, string>[] names = [run => $"{run.WeightBits} bits", run => $"w{run.WeightBits}a{run.ActivationBits}"];
        var name = names.FirstOrDefault(candidate => groups.Select(group => candidate(group.First())).Distinct().Count() == groups.Count);
        return [.. groups.Select(group => new Width(group.Key, name?.Invoke(group.First()) ?? group.Key, [.. group.OrderBy(run => run.Method)]))];
    }

    private ComparisonRun? BestOf(Method method) =>
        Runs.Where(run => run.Method == method).MinBy(run => double.IsFinite(run.LossDifference) ? run.LossDifference : double.PositiveInfinity);
}
