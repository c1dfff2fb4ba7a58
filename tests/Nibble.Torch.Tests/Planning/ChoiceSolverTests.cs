using Nibble.Planning;
using Nibble.Torch.Planning;

namespace Nibble.Torch.Tests.Planning;

public sealed class ChoiceSolverTests
{
    private static readonly Gen<ChoiceProblem> Problems =
        Gen.Select(Gen.Int[-3, 40], Gen.Long[0, 30], (cost, size) => new Choice(cost / 8d, size)).Array[1, 4].Array[1, 5]
            .Select(items => new ChoiceProblem(items));

    [Fact]
    public void LeastCostIsThatOfEverySelectionTried() => Gen.Select(Problems, Gen.Long[0, 80]).Sample(
        (problem, size) =>
        {
            var costs = Selections(problem).Where(selection => problem.SizeOf(selection) <= size).Select(problem.CostOf).ToList();
            var found = ChoiceSolver.LeastCost(problem, size);
            Assert.Equal(costs.Count == 0, found is null);
            if (found is not null)
            {
                Assert.InRange(problem.SizeOf(found), 0, size);
                Assert.Equal(costs.Min(), problem.CostOf(found), 1e-6);
            }
        },
        iter: 60, threads: 1);

    [Fact]
    public void LeastSizeIsThatOfEverySelectionTried() => Gen.Select(Problems, Gen.Int[0, 80]).Sample(
        (problem, eighths) =>
        {
            var sizes = Selections(problem).Where(selection => problem.CostOf(selection) <= eighths / 8d).Select(problem.SizeOf).ToList();
            var found = ChoiceSolver.LeastSize(problem, eighths / 8d);
            Assert.Equal(sizes.Count == 0, found is null);
            if (found is not null)
            {
                Assert.Equal(sizes.Min(), problem.SizeOf(found));
                Assert.True(problem.CostOf(found) <= (eighths / 8d) + 1e-6);
            }
        },
        iter: 60, threads: 1);

    [Fact]
    public void ManyItemsAreSolvedWithinALinearBound()
    {
        var random = new Random(3);
        var problem = new ChoiceProblem([.. Enumerable.Range(0, 60).Select(_ =>
        {
            var scale = Math.Exp(3 * random.NextDouble());
            return (IReadOnlyList<Choice>)[.. ((int[])[2, 3, 4, 5, 6, 8]).Select(bits => new Choice(scale * Math.Pow(4, -bits), bits * 1000L))];
        })]);
        var found = ChoiceSolver.LeastCost(problem, 180_000)!;

        // No exchange of one layer's bit for another's helps.
        var cost = problem.CostOf(found);
        for (var up = 0; up < 60; up++)
        {
            for (var down = 0; down < 60; down++)
            {
                if (up != down && found[up] < 4 && found[down] is > 0 and < 5)
                {
                    int[] other = [.. found];
                    other[up]++;
                    other[down]--;
                    Assert.True(problem.CostOf(other) >= cost - 1e-6);
                }
            }
        }
    }

    private static IEnumerable<int[]> Selections(ChoiceProblem problem) => problem.Items.Aggregate(
        (IEnumerable<int[]>)[[]],
        (selections, choices) => selections.SelectMany(selection => Enumerable.Range(0, choices.Count).Select(choice => (int[])[.. selection, choice])));
}
