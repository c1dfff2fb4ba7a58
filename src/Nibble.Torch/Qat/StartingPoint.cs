using Nibble.Artifacts;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;

namespace Nibble.Torch.Qat;

/// <summary>What training begins with: calibrated inputs and, where the recipe names algorithms to start with, their solution.</summary>
internal static class StartingPoint
{
    /// <summary>Finds what is known before training.</summary>
    /// <remarks>
    /// Post-training algorithms leave the model with their solution's values in the place of its weights: a weight on its grid is where its code
    /// is least likely to change, so that training begins with the solution's loss and moves away from it only as far as it pays.
    /// </remarks>
    /// <param name="source">The float model, whose weights are overwritten by a solution's.</param>
    /// <param name="recipe">The recipe that will be trained.</param>
    /// <param name="settings">How it will be trained.</param>
    /// <param name="text">Text to calibrate on.</param>
    /// <param name="calibration">How much of it.</param>
    /// <param name="seed">Drives what is random in the algorithms.</param>
    /// <exception cref="NibbleException">The algorithms cannot be applied to this model, or put columns into groups that are no neighbours.</exception>
    public static PrepareOptions Find(LoadedModel source, Recipe recipe, QatSettings settings, TokenizedText text, CalibrationOptions calibration, long seed)
    {
        if (settings.Start == WeightAlgorithms.RoundToNearest)
        {
            return new PrepareOptions { Inputs = ActivationCalibration.Run(source.Model, recipe, text, calibration) };
        }

        var rules = recipe.Rules.Select(rule => rule.Weights is null ? rule : rule with { Algorithms = settings.Start, Range = settings.Start.UsualRange ?? rule.Range });
        var solution = PostTrainingQuantizer.Run(source, recipe with { Rules = [.. rules] }, text, seed);
        if (solution.Layers.FirstOrDefault(layer => layer.Weight.GroupIndex is not null) is { } scattered)
        {
            throw new NibbleException($"the recipe '{recipe.Name}' starts training from groups of scattered columns (activationOrder: group), of which {scattered.Name} has some; use activationOrder: weight or none");
        }

        var weights = source.Model.Linears.ToDictionary(linear => linear.Key, linear => linear.Value.Weight);
        foreach (var layer in solution.Layers)
        {
            Conversion.CopyInto(weights[layer.Name], layer.Weight.Dequantize());
        }

        return Take(source, solution);
    }

    /// <summary>A solution's parameters to begin with; what stays float and was changed, such as norms by scaled channels, goes into the model.</summary>
    public static PrepareOptions Take(LoadedModel source, QuantizedModel solution)
    {
        var parameters = source.Model.named_parameters().ToDictionary(item => item.name, item => item.parameter);
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
