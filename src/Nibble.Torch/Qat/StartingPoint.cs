using Nibble.Artifacts;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;

namespace Nibble.Torch.Qat;

/// <summary>What training begins with: calibrated inputs, the weights that post-training quantization chooses for good and, where the recipe names algorithms
/// to start with, their solution.</summary>
internal static class StartingPoint
{
    /// <summary>Whether post-training quantization chooses weights for good, which training works around.</summary>
    public static bool FreezesWeights(Recipe recipe) => recipe.Rules.Any(rule => rule is { Weights: not null, WeightMethod: Method.Ptq });

    /// <summary>Finds what is known before training.</summary>
    /// <remarks>
    /// Post-training algorithms leave the model with their solution's values in the place of its weights: a weight on its grid is where its code
    /// is least likely to change, so that training begins with the solution's loss and moves away from it only as far as it pays.
    /// Weights of the method ptq are solved in the same pass, by the algorithms of their rules; weights that are trained from their float values are float in
    /// it.
    /// </remarks>
    /// <param name="source">The float model, whose weights are overwritten by a solution's.</param>
    /// <param name="recipe">The recipe that will be trained.</param>
    /// <param name="settings">How it will be trained.</param>
    /// <param name="data">Data to calibrate on.</param>
    /// <param name="calibration">How much of it.</param>
    /// <param name="seed">Drives what is random in the algorithms.</param>
    /// <param name="folder">Where the solution is kept for a run that goes on, and the work on it; null keeps nothing.</param>
    /// <param name="warn">Told what the user should know of the solution.</param>
    /// <param name="progress">Told of the way to the solution.</param>
    /// <param name="cancellation">Stops between layers and batches.</param>
    /// <exception cref="NibbleException">The algorithms cannot be applied to this model, or put columns into groups that are no neighbours.</exception>
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
                $"the recipe '{recipe.Name}' starts training from groups of scattered columns (activationOrder: group), of which {scattered.Name} has some; "
                + $"use activationOrder: weight or none");
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
            _ => rule with { Algorithms = settings.Start, Range = settings.Start.UsualRange ?? rule.Range, WeightMethod = null, ActivationMethod = null },
        };
    }

    /// <summary>Runs post-training quantization, or loads what a run before has left.</summary>
    /// <param name="source">The float model.</param>
    /// <param name="recipe">What to do with each layer.</param>
    /// <param name="data">Data to calibrate on.</param>
    /// <param name="seed">Drives what is random.</param>
    /// <param name="training">How each block is trained; null leaves it as it was quantized.</param>
    /// <param name="folder">Where the solution is kept for a run that goes on, and the work on it; null keeps nothing.</param>
    /// <param name="warn">Told what the user should know of the solution.</param>
    /// <param name="progress">Told after each layer and step.</param>
    /// <param name="cancellation">Stops between layers, steps and batches.</param>
    public static QuantizedModel Solve(
        LoadedModel source, Recipe recipe, ICalibrationData data, long seed, QatSettings? training, string? folder, Action<string>? warn,
        IProgress<RunProgress>? progress, CancellationToken cancellation) => folder is null
        ? PostTrainingQuantizer.Run(source, recipe, data, seed, training, warn, progress, cancellation)
        : PostTrainingQuantizer.RunOrLoad(
            new PtqRequest(source.Folder, recipe, folder) { Data = data, Seed = seed, Task = source.Task, Training = training, Warn = warn },
            progress, cancellation);

    /// <summary>A solution's parameters to begin with; what stays float and was changed, such as norms by scaled channels, goes into the model.</summary>
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
