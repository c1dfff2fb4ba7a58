using Nibble.Planning;
using Nibble.Torch.Planning;

namespace Nibble.Torch.Tests.Planning;

public sealed class CostBeliefTests
{
    private static readonly ChoiceProblem Problem = new(
        [.. Enumerable.Range(1, 6).Select(item => (IReadOnlyList<Choice>)[new Choice(item, 2), new Choice(0.2 * item, 3), new Choice(0.02 * item, 4)])]);

    [Fact]
    public void DrawsSpreadAroundTheCostsBeforeAnythingIsMeasured()
    {
        var random = new Random(1);
        var belief = new CostBelief(Problem);
        var draws = Enumerable.Range(0, 4000).Select(_ => belief.Draw(random).Items[2][1].Cost).ToList();

        // Costs 0.6, with a standard deviation of 0.3 times that; the mean of 4000 draws is known to 0.0028.
        Assert.Equal(0.6, draws.Average(), 0.012);
        Assert.Equal(0.18, Math.Sqrt(draws.Average(draw => (draw - 0.6) * (draw - 0.6))), 0.01);
    }

    [Fact]
    public void DrawsAgreeWithWhatWasMeasured()
    {
        int[] first = [0, 1, 2, 0, 1, 2], second = [0, 1, 2, 2, 1, 0];
        var random = new Random(1);
        var belief = new CostBelief(Problem);
        belief.Add(first, 9);
        belief.Add(second, 7);

        for (var i = 0; i < 50; i++)
        {
            // 4 standard deviations of a measurement, 3 % of it.
            var drawn = belief.Draw(random);
            Assert.Equal(9, drawn.CostOf(first), 1.1);
            Assert.Equal(7, drawn.CostOf(second), 0.9);
        }
    }

    [Fact]
    public void SearchFindsWhatTheLayersOwnCostsHide()
    {
        // Layers' own costs are off by a factor of up to e^0.7 to both sides, as an unknown part of the model sees them.
        var random = new Random(7);
        var own = new ChoiceProblem([.. Enumerable.Range(0, 20).Select(_ => Widths(Math.Exp(2 * random.NextDouble())))]);
        var truth = new ChoiceProblem([.. own.Items.Select(item => Scaled(item, Math.Exp(1.4 * (random.NextDouble() - 0.5))))]);
        const long Size = 20 * 3;
        var least = truth.CostOf(ChoiceSolver.LeastCost(truth, Size)!);
        var start = ChoiceSolver.LeastCost(own, Size)!;
        var belief = new CostBelief(own);
        belief.Add(start, truth.CostOf(start));
        var best = truth.CostOf(start);
        for (var round = 0; round < 30; round++)
        {
            var next = ChoiceSolver.LeastCost(belief.Draw(random), Size)!;
            belief.Add(next, truth.CostOf(next));
            best = Math.Min(best, truth.CostOf(next));
        }

        Assert.True(truth.CostOf(start) > 1.15 * least, $"the start costs {truth.CostOf(start) / least} of the least");
        Assert.True(best < 1.06 * least, $"the best found costs {best / least} of the least");

        static IReadOnlyList<Choice> Widths(double cost) => [new(cost, 2), new(cost / 5, 3), new(cost / 25, 4)];
        static IReadOnlyList<Choice> Scaled(IReadOnlyList<Choice> item, double factor) =>
            [.. item.Select(choice => choice with { Cost = factor * choice.Cost })];
    }
}
