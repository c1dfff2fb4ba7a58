using Google.OrTools.Sat;
using Nibble.Planning;

namespace Nibble.Torch.Planning;

/// <summary>Solves a <see cref="ChoiceProblem"/> as an integer program with CP-SAT of Google's OR-Tools.</summary>
/// <remarks>
/// It uses one worker and a limit in the solver's deterministic time. The same problem therefore has the same answer, whatever else the machine does.
/// </remarks>
internal static class ChoiceSolver
{
    private const string Parameters = "num_workers:1,random_seed:1,max_deterministic_time:60";

    /// <summary>Integer steps in the largest cost, because the solver adds integers.</summary>
    private const double Steps = 1e9;

    /// <summary>The selection with the lowest cost within a size limit.</summary>
    /// <returns>The index of a choice for each item. Null if no selection is that small.</returns>
    public static int[]? LeastCost(ChoiceProblem problem, long size)
    {
        ArgumentNullException.ThrowIfNull(problem);
        return size < problem.LeastSize ? null : Solve(problem, (model, cost, total) =>
        {
            model.Add(total <= size);
            model.Minimize(cost);
        });
    }

    /// <summary>The selection with the smallest size within a cost limit.</summary>
    /// <returns>The index of a choice for each item. Null if no selection costs that little.</returns>
    public static int[]? LeastSize(ChoiceProblem problem, double cost)
    {
        ArgumentNullException.ThrowIfNull(problem);

        // The sum of rounded costs can exceed the exact sum by up to half a step per item.
        var limit = Math.Ceiling((cost * Scale(problem)) + (problem.Items.Count / 2d));
        return cost < problem.LeastCost ? null : Solve(problem, (model, sum, total) =>
        {
            model.Add(sum <= (long)Math.Min(limit, 1e18));
            model.Minimize(total);
        });
    }

    private static double Scale(ChoiceProblem problem) => Steps / Math.Max(1e-300, problem.Items.Max(choices => choices.Max(choice => Math.Abs(choice.Cost))));

    private static int[]? Solve(ChoiceProblem problem, Action<CpModel, LinearExpr, LinearExpr> bound)
    {
        var model = new CpModel();
        var scale = Scale(problem);
        var chosen = problem.Items.Select((choices, item) => choices.Select((_, choice) => model.NewBoolVar($"{item}:{choice}")).ToArray()).ToArray();
        foreach (var literals in chosen)
        {
            model.AddExactlyOne(literals);
        }

        var all = chosen.SelectMany(literals => literals).ToArray();
        var choicesInOrder = problem.Items.SelectMany(choices => choices).ToArray();
        bound(
            model,
            LinearExpr.WeightedSum(all, choicesInOrder.Select(choice => (long)Math.Round(choice.Cost * scale)).ToArray()),
            LinearExpr.WeightedSum(all, choicesInOrder.Select(choice => choice.Size).ToArray()));
        var solver = new CpSolver { StringParameters = Parameters };
        return solver.Solve(model) is CpSolverStatus.Optimal or CpSolverStatus.Feasible
            ? [.. chosen.Select(literals => Array.FindIndex(literals, solver.BooleanValue))]
            : null;
    }
}
