using Nibble.Planning;
using Nibble.Recipes;
using Nibble.Torch.Models;

namespace Nibble.Torch.Planning;

/// <summary>One way to divide a model's layers between the methods, tried for a part of its training.</summary>
/// <param name="Trained">Which layers are trained: <c>none</c>, <c>all</c>, <c>attention</c>, <c>feed-forward</c> or <c>costliest</c>.</param>
/// <param name="Layers">How many layers that are.</param>
/// <param name="Recipe">The recipe, with as many steps of training as there are minutes for.</param>
/// <param name="TriedSteps">Steps that it was trained for here, with a whole schedule; 0 where nothing is trained.</param>
/// <param name="StepSeconds">Seconds of a step; 0 where nothing is trained.</param>
/// <param name="Distance">How far the model is from the float model after <paramref name="TriedSteps"/>.</param>
internal sealed record MethodTrial(string Trained, int Layers, Recipe Recipe, int TriedSteps, double StepSeconds, Distance Distance);

/// <summary>Finds which layers to train in the minutes that there are, around those whose codes PTQ chooses and which stay as they are.</summary>
/// <remarks>
/// What a layer gains by training depends on which others are trained, so it does not add up as what layers lose does. A few divisions are trained instead,
/// each for a quarter
/// of the steps that its own step leaves time for, and scored on held-out text.
/// </remarks>
internal static class MethodPlanner
{
    /// <summary>Steps that tell how long a step takes.</summary>
    private const int TimedSteps = 6;

    /// <summary>Fewer steps train nothing.</summary>
    private const int LeastSteps = 8;

    /// <summary>Each division is tried for one part in so many of its training.</summary>
    private const int TriedPart = 4;

    /// <summary>Tries the divisions.</summary>
    /// <param name="study">Trains and measures.</param>
    /// <param name="mixed">The recipe of post-training quantization, and how long what it makes is from the float model.</param>
    /// <param name="seconds">Seconds that a training may take, above 0.</param>
    /// <param name="costs">What each layer costs alone.</param>
    /// <param name="progress">Told how training goes.</param>
    /// <param name="cancellation">Stops between steps; what is measured is kept.</param>
    /// <returns>The divisions by rising loss; those that there is no time for, and those that diverged, are missing.</returns>
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
        // Every family's blocks begin with attention: what goes into it, then what comes out.
        var attention = study.Source.Model.Blocks.SelectMany((block, i) => block.Stages.Take(2).SelectMany(stage => stage.Layers)
                .Select(layer => study.Source.Definition.BlockPrefix(i) + layer.Key))
            .Where(study.Layers.Contains).ToHashSet(StringComparer.Ordinal);
        yield return ("all", study.Layers.ToHashSet(StringComparer.Ordinal));
        yield return ("attention", attention);
        yield return ("feed-forward", study.Layers.Except(attention).ToHashSet(StringComparer.Ordinal));

        // The fewest layers that make up half of what all cost.
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
