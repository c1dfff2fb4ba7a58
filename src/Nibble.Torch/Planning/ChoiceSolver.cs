using Google.OrTools.Sat;
using Nibble.Planning;

namespace Nibble.Torch.Planning;

/// <summary>Solves a <see cref="ChoiceProblem"/> as an integer program, with CP-SAT of Google's OR-Tools.</summary>
/// <remarks>One worker and a limit in the solver's own deterministic time: the same problem has the same answer, whatever else the machine does.</remarks>
internal static class ChoiceSolver
{
    private const string Parameters = "num_workers:1,random_seed:1,max_deterministic_time:60";

    /// <summary>Whole steps in the largest cost: the solver adds integers.</summary>
    private const double Steps = 1e9;

    /// <summary>The selection of the least cost within a size.</summary>
    /// <returns>The number of a choice for each item; null when no selection is that small.</returns>
    public static int[]? LeastCost(ChoiceProblem problem, long size)
    {
        ArgumentNullException.ThrowIfNull(problem);
        return size < problem.LeastSize ? null : Solve(problem, (model, cost, total) =>
        {
            model.Add(total <= size);
            model.Minimize(cost);
        });
    }

    /// <summary>The selection of the least size within a cost.</summary>
    /// <returns>The number of a choice for each item; null when no selection costs that little.</returns>
    public static int[]? LeastSize(ChoiceProblem problem, double cost)
    {
        ArgumentNullException.ThrowIfNull(problem);

        // Rounded costs may add up to half a step an item more than they are.
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
