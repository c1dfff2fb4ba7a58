using Nibble.Planning;
using Nibble.Recipes;
using Nibble.Torch.Models;

namespace Nibble.Torch.Planning;

/// <summary>A division of a model's layers between the methods, tried for part of its training.</summary>
/// <param name="Trained">The trained layers: <c>none</c>, <c>all</c>, <c>attention</c>, <c>feed-forward</c> or <c>costliest</c>.</param>
/// <param name="Layers">The number of trained layers.</param>
/// <param name="Recipe">The recipe, with as many training steps as the time allows.</param>
/// <param name="TriedSteps">The number of steps of the trial, with a complete schedule. 0 if nothing is trained.</param>
/// <param name="StepSeconds">Seconds per step. 0 if nothing is trained.</param>
/// <param name="Distance">The distance from the float model after <paramref name="TriedSteps"/>.</param>
internal sealed record MethodTrial(string Trained, int Layers, Recipe Recipe, int TriedSteps, double StepSeconds, Distance Distance);

/// <summary>Finds the layers to train within a time limit. PTQ chooses the codes of the other layers, which stay unchanged.</summary>
/// <remarks>
/// The gain from training a layer depends on which other layers are trained, so gains do not add up the way losses do. Instead, a few divisions are trained for
/// a quarter of the steps that their time per step allows, and scored on held-out data.
/// </remarks>
internal static class MethodPlanner
{
    /// <summary>The number of steps for measuring the time per step.</summary>
    private const int TimedSteps = 6;

    /// <summary>The minimum number of steps. Fewer have no effect.</summary>
    private const int LeastSteps = 8;

    /// <summary>The divisor of a division's training steps for its trial.</summary>
    private const int TriedPart = 4;

    /// <summary>Tries the divisions.</summary>
    /// <param name="study">Trains and measures.</param>
    /// <param name="mixed">The PTQ recipe, and the distance of its result from the float model.</param>
    /// <param name="seconds">The time limit of a training run in seconds, above 0.</param>
    /// <param name="costs">The cost of quantizing each layer separately.</param>
    /// <param name="progress">Receives training progress.</param>
    /// <param name="cancellation">Cancels between steps. Completed measurements are kept.</param>
    /// <returns>The divisions by increasing loss, without those that there is no time for and those that diverged.</returns>
    public static IReadOnlyList<MethodTrial> Run(
        LayerStudy study, (Recipe Recipe, Distance Distance) mixed, double seconds, IReadOnlyDictionary<string, double> costs, IProgress<RunProgress>? progress,
        CancellationToken cancellation)
    {
        var trials = new List<MethodTrial> { new("none", 0, mixed.Recipe, 0, 0, mixed.Distance) };
        foreach (var (name, trained) in Divisions(study, costs).Where(division => division.Trained.Count > 0))
        {
            var recipe = Divide(study, mixed.Recipe, trained);
            if (study.MeasureTrained(WithSteps(recipe, TimedSteps), progress, cancellation) is not { } timed)
            {
                continue;
            }

            var steps = (int)Math.Min(int.MaxValue, (seconds - timed.SetupSeconds) / timed.StepSeconds);
            var tried = Math.Max(LeastSteps, steps / TriedPart);
            if (steps >= LeastSteps && study.MeasureTrained(WithSteps(recipe, tried), progress, cancellation) is { } measured)
            {
                trials.Add(new MethodTrial(name, trained.Count, WithSteps(recipe, steps), tried, timed.StepSeconds, measured.Distance));
            }
        }

        return [.. trials.OrderBy(trial => trial.Distance.Loss)];
    }

    private static IEnumerable<(string Name, IReadOnlySet<string> Trained)> Divisions(LayerStudy study, IReadOnlyDictionary<string, double> costs)
    {
        // The first two stages of every family's blocks are attention: its inputs and its output.
        var attention = study.Source.Model.Blocks.SelectMany((block, i) => block.Stages.Take(2).SelectMany(stage => stage.Layers)
                .Select(layer => study.Source.Definition.BlockPrefix(i) + layer.Key))
            .Where(study.Layers.Contains).ToHashSet(StringComparer.Ordinal);
        yield return ("all", study.Layers.ToHashSet(StringComparer.Ordinal));
        yield return ("attention", attention);
        yield return ("feed-forward", study.Layers.Except(attention).ToHashSet(StringComparer.Ordinal));

        // The fewest layers that account for half of the total cost.
        var half = costs.Values.Sum() / 2;
        var costliest = new HashSet<string>(StringComparer.Ordinal);
        foreach (var (layer, cost) in costs.OrderByDescending(item => item.Value).ThenBy(item => item.Key, StringComparer.Ordinal))
        {
            if (half <= 0)
            {
                break;
            }

            costliest.Add(layer);
            half -= cost;
        }

        yield return ("costliest", costliest);
    }

    private static Recipe Divide(LayerStudy study, Recipe recipe, IReadOnlySet<string> trained)
    {
        var rules = study.Source.Model.Linears().Select(linear => KeyValuePair.Create(
            linear.Key, recipe.RuleFor(linear.Key) is { } rule ? rule with { WeightMethod = trained.Contains(linear.Key) ? Method.Qat : Method.Ptq } : null))
                .ToList();
        return MixedRecipe.Create(
            recipe.Name, rules, recipe with
            {
                Qat = recipe.Qat with
                {
                    SequenceLength = Math
            .Min(recipe.Qat.SequenceLength, study.Source.Definition.MaxSequence)
                }
            });
    }

    private static Recipe WithSteps(Recipe recipe, int steps) => recipe with { Qat = recipe.Qat with { Steps = steps } };
}
