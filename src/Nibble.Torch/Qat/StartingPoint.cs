using Nibble.Artifacts;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;

namespace Nibble.Torch.Qat;

/// <summary>
/// The starting point of training: calibrated inputs, the weights that PTQ chooses and training keeps, and, if the recipe names algorithms to start with,
/// their solution.
/// </summary>
internal static class StartingPoint
{
    /// <summary>Whether PTQ chooses some weights, which training then keeps.</summary>
    public static bool FreezesWeights(Recipe recipe) => recipe.Rules.Any(rule => rule is { Weights: not null, WeightMethod: Method.Ptq });

    /// <summary>Determines the starting point.</summary>
    /// <remarks>
    /// PTQ algorithms replace the model's weights with their solution's values. A weight on its grid is where its code is least likely to change. Training
    /// therefore starts with the solution's loss and moves away from the solution only as far as it helps. Weights with the method ptq are solved in the same
    /// pass by the algorithms of their rules. Weights that are trained from their float values stay float in that pass.
    /// </remarks>
    /// <param name="source">The float model. Its weights are overwritten by those of the solution.</param>
    /// <param name="recipe">The recipe to train.</param>
    /// <param name="settings">The training settings.</param>
    /// <param name="data">Calibration data.</param>
    /// <param name="calibration">The amount of calibration data to use.</param>
    /// <param name="seed">The seed for random choices in the algorithms.</param>
    /// <param name="folder">Where to keep the solution, and the unfinished work on it, for a resumed run. Null keeps nothing.</param>
    /// <param name="warn">Receives warnings about the solution.</param>
    /// <param name="progress">Receives progress on the solution.</param>
    /// <param name="cancellation">Cancels between layers and batches.</param>
    /// <exception cref="NibbleException">
    /// The algorithms cannot be applied to this model, or form groups of columns that are not adjacent.
    /// </exception>
    public static PrepareOptions Find(
        LoadedModel source, Recipe recipe, QatSettings settings, ICalibrationData data, CalibrationOptions calibration, long seed, string? folder,
        Action<string>? warn, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        var fromFloat = settings.Start == WeightAlgorithms.RoundToNearest;
        if (fromFloat && !FreezesWeights(recipe))
        {
            return new PrepareOptions { Inputs = ActivationCalibration.Run(source.Model, recipe, data, calibration, seed, progress, cancellation) };
        }

        var solution = Solve(source, recipe with { Rules = [.. recipe.Rules.Select(Solved)] }, data, seed, training: null, folder, warn, progress,
            cancellation);
        if (solution.Layers.FirstOrDefault(
            layer => layer.Weight.GroupIndex is not null && recipe.RuleFor(layer.Name)!.WeightMethod != Method.Ptq) is { } scattered)
        {
            throw new NibbleException(
                $"the recipe '{recipe.Name}' starts training from groups of scattered columns (activationOrder: group), which {scattered.Name} has. "
                + $"Use activationOrder: weight or none");
        }

        var weights = source.Model.Layers.ToDictionary(layer => layer.Key, layer => layer.Value.Weight);
        foreach (var layer in solution.Layers)
        {
            Conversion.CopyInto(weights[layer.Name], layer.Weight.Dequantize());
        }

        var known = Take(source, solution);
        if (!fromFloat)
        {
            return known;
        }

        var rest = ActivationCalibration.Run(
            source.Model, recipe with { Rules = [.. recipe.Rules.Select(rule => rule.WeightMethod == Method.Ptq ? rule with { Activations = null } : rule)] },
            data, calibration, seed, progress, cancellation);
        return known with { Inputs = known.Inputs.Concat(rest).ToDictionary() };

        RecipeRule Solved(RecipeRule rule) => rule switch
        {
            { Weights: null } => rule,
            { WeightMethod: Method.Ptq } => rule with { ActivationMethod = null },
            _ when fromFloat => rule with { Weights = null },
            _ => rule with { Algorithms = settings.Start, Range = settings.Start.DefaultRange ?? rule.Range, WeightMethod = null, ActivationMethod = null },
        };
    }

    /// <summary>Runs PTQ, or loads the solution of an earlier run.</summary>
    /// <param name="source">The float model.</param>
    /// <param name="recipe">What to do with each layer.</param>
    /// <param name="data">Calibration data.</param>
    /// <param name="seed">The seed for random choices.</param>
    /// <param name="training">How to train each block. Null trains no blocks.</param>
    /// <param name="folder">Where to keep the solution, and the unfinished work on it, for a resumed run. Null keeps nothing.</param>
    /// <param name="warn">Receives warnings about the solution.</param>
    /// <param name="progress">Receives progress after each layer and step.</param>
    /// <param name="cancellation">Cancels between layers, steps and batches.</param>
    public static QuantizedModel Solve(
        LoadedModel source, Recipe recipe, ICalibrationData data, long seed, QatSettings? training, string? folder, Action<string>? warn,
        IProgress<RunProgress>? progress, CancellationToken cancellation) => folder is null
        ? PostTrainingQuantizer.Run(source, recipe, data, seed, training, warn, progress, cancellation)
        : PostTrainingQuantizer.RunOrLoad(
            new PtqRequest(source.Folder, recipe, folder) { Data = data, Seed = seed, Task = source.Task, Training = training, Warn = warn },
            progress, cancellation);

    /// <summary>
    /// The initial parameters from a solution. Float tensors that the solution has changed, for example norms with scaled channels, are copied into the model.
    /// </summary>
    public static PrepareOptions Take(LoadedModel source, QuantizedModel solution)
    {
        var parameters = source.Model.Parameters().ToDictionary(item => item.Name, item => item.Value);
        foreach (var tensor in solution.FloatTensors)
        {
            Conversion.CopyInto(parameters[tensor.Name], tensor.Values);
        }

        return new PrepareOptions
        {
            Weights = solution.Layers.ToDictionary(layer => layer.Name, layer => layer.Weight),
            Inputs = solution.Layers.Where(layer => layer.Input is not null).ToDictionary(layer => layer.Name, layer => layer.Input!),
        };
    }
}
