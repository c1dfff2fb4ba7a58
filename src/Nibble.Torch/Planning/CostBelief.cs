using Nibble.Planning;
using static TorchSharp.torch;

namespace Nibble.Torch.Planning;

/// <summary>A probability distribution of the costs of a problem's choices, given the measured total costs of some selections.</summary>
/// <remarks>
/// This is a Bayesian linear model. In the prior, each choice costs the layer's own cost times a common factor, with a relative standard deviation of
/// <see cref="Doubt"/>. The measured cost of a selection is the sum of its choices' costs plus noise of <see cref="Noise"/>. A sample is drawn from the prior
/// and then corrected by the measurements (Matheron's rule, as in Wilson et al. 2020, "Efficiently sampling functions from Gaussian process posteriors",
/// equation 11). The best selection under the sample is tried next (Thompson 1933). In this way, the search finds layers whose cost the sum gets wrong, and
/// converges to selections that measure well.
/// </remarks>
internal sealed class CostBelief
{
    /// <summary>The standard deviation of a choice's cost as a share of it. The sum of layers' own costs differs from measurements by about this
    /// much.</summary>
    private const double Doubt = 0.3;

    /// <summary>The standard deviation of a measurement as a share of it. GPTQ with other text ends up about this far off.</summary>
    private const double Noise = 0.03;

    private readonly ChoiceProblem problem;
    private readonly List<(int[] Selection, double Cost)> observations = [];

    /// <summary>Starts with the costs of a problem.</summary>
    public CostBelief(ChoiceProblem problem) => this.problem = problem;

    /// <summary>Adds a measurement. Measuring the same selection again adds no information.</summary>
    /// <param name="selection">The index of a choice for each item.</param>
    /// <param name="cost">Its measured cost, in the unit of the problem's costs, above 0.</param>
    public void Add(int[] selection, double cost)
    {
        if (!observations.Exists(point => point.Selection.AsSpan().SequenceEqual(selection)))
        {
            observations.Add((selection, cost));
        }
    }

    /// <summary>The problem with a random sample of its costs.</summary>
    public ChoiceProblem Draw(Random random)
    {
        // The sum is off by a factor that is similar for all selections of about the same size.
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

    /// <summary>A sample of the standard normal distribution (Box and Muller 1958).</summary>
    private static double Gaussian(Random random) => Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
}
