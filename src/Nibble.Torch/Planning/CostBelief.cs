using Nibble.Planning;
using static TorchSharp.torch;

namespace Nibble.Torch.Planning;

/// <summary>What the choices of a problem may cost, given what selections of them were measured to cost in all.</summary>
/// <remarks>
/// A Bayesian linear model. Before anything is measured, each choice costs a layer's own cost times a common factor, with a relative standard deviation of
/// <see cref="Doubt"/>;
/// a selection's measured cost is the sum of its choices' with noise of <see cref="Noise"/>. A draw from it is drawn from the prior and then corrected by what
/// the
/// measurements say of that draw (Matheron's rule, as in Wilson et al. 2020, "Efficiently sampling functions from Gaussian process posteriors", equation 11),
/// and the best selection
/// under a draw is the next to try (Thompson 1933). So layers whose cost the sum mistakes are found out, and the search closes in on selections that measure
/// well.
/// </remarks>
internal sealed class CostBelief
{
    /// <summary>Standard deviation of a choice's cost as a share of it: by about this the sum of layers' own costs misses what is measured.</summary>
    private const double Doubt = 0.3;

    /// <summary>Standard deviation of a measurement as a share of it: GPTQ on other text ends about that far off.</summary>
    private const double Noise = 0.03;

    private readonly ChoiceProblem problem;
    private readonly List<(int[] Selection, double Cost)> observations = [];

    /// <summary>Begins with the costs of a problem.</summary>
    public CostBelief(ChoiceProblem problem) => this.problem = problem;

    /// <summary>Takes a measurement into account; the same selection again tells nothing new.</summary>
    /// <param name="selection">The number of a choice for each item.</param>
    /// <param name="cost">What it was measured to cost, in the unit of the problem's costs; above 0.</param>
    public void Add(int[] selection, double cost)
    {
        if (!observations.Exists(point => point.Selection.AsSpan().SequenceEqual(selection)))
        {
            observations.Add((selection, cost));
        }
    }

    /// <summary>The problem with costs as they may be.</summary>
    public ChoiceProblem Draw(Random random)
    {
        // The sum is off by a factor that all selections of about one size share.
        var factor = observations.Count == 0 ? 1
            : observations.Average(point => point.Cost) / Math.Max(1e-12, observations.Average(point => problem.CostOf(point.Selection)));
        var drawn = problem.Items.Select(item => item.Select(choice => (factor * choice.Cost) + (Deviation(factor, choice) * Gaussian(random))).ToArray())
            .ToArray();
        if (observations.Count > 0)
        {
            Correct(drawn, factor, random);
        }

        return new ChoiceProblem(
            [.. problem.Items.Zip(drawn, (item, costs) => (IReadOnlyList<Choice>)[.. item.Zip(costs, (choice, cost) => choice with { Cost = cost })])]);
    }

    private void Correct(double[][] drawn, double factor, Random random)
    {
        var count = observations.Count;
        var covariance = new double[count, count];
        var missing = new double[count];
        for (var i = 0; i < count; i++)
        {
            var (selection, cost) = observations[i];
            for (var j = 0; j < count; j++)
            {
                covariance[i, j] = Enumerable.Range(0, selection.Length).Where(item => selection[item] == observations[j].Selection[item])
                    .Sum(item => Variance(item, selection[item]));
            }

            var noise = Noise * cost;
            covariance[i, i] += noise * noise;
            missing[i] = cost + (noise * Gaussian(random)) - Enumerable.Range(0, selection.Length).Sum(item => drawn[item][selection[item]]);
        }

        using var scope = NewDisposeScope();
        var weights = linalg.solve(tensor(covariance), tensor(missing)).data<double>().ToArray();
        for (var i = 0; i < count; i++)
        {
            var selection = observations[i].Selection;
            for (var item = 0; item < selection.Length; item++)
            {
                drawn[item][selection[item]] += weights[i] * Variance(item, selection[item]);
            }
        }

        double Variance(int item, int choice) => Math.Pow(Deviation(factor, problem.Items[item][choice]), 2);
    }

    private static double Deviation(double factor, Choice choice) => Doubt * factor * Math.Abs(choice.Cost);

    /// <summary>A draw of the standard normal distribution (Box and Muller 1958).</summary>
    private static double Gaussian(Random random) => Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
}
