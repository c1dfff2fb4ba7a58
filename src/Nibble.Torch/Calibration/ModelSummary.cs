using Nibble.Models;
using Nibble.Recipes;
using Nibble.Torch.Data;

namespace Nibble.Torch.Calibration;

/// <summary>Summarizes what a recipe does with a model, in memory or on disk.</summary>
internal static class ModelSummary
{
    /// <summary>Creates the summary.</summary>
    /// <param name="definition">The model. Its head is untied if the recipe requires it.</param>
    /// <param name="recipe">The recipe.</param>
    /// <param name="method">The method for rules that name none.</param>
    /// <param name="pieces">The calibration data. Null if nothing is calibrated.</param>
    /// <param name="target">The export format that the recipe was fitted to. Null for none.</param>
    /// <param name="epochs">The number of passes over the training data. Null if nothing is trained.</param>
    /// <param name="hasIdleData">Whether data were provided that the run does not use.</param>
    public static RunSummary Of(
        ModelDefinition definition, Recipe recipe, Method method, CalibrationPieces? pieces, RecipeTarget? target, double? epochs = null,
        bool hasIdleData = false)
    {
        var kept = definition.KeptBy(recipe);
        var names = kept.Select(layer => layer.Name).ToHashSet(StringComparer.Ordinal);
        return RunSummary.Of(recipe, new RunFacts(method, [.. definition.QuantizableLayers.Where(layer => !names.Contains(layer.Name))])
        {
            OutOfReach = kept,
            Target = target,
            CalibrationPieces = pieces?.Sequences.Count,
            CalibrationTokens = pieces?.Tokens ?? 0,
            WindowTokens = pieces?.WindowTokens,
            Epochs = epochs,
            HasIdleData = hasIdleData,
        });
    }
}
