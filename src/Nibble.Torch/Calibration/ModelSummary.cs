using Nibble.Models;
using Nibble.Recipes;
using Nibble.Torch.Data;

namespace Nibble.Torch.Calibration;

/// <summary>What a recipe does with a model, in memory or on disk.</summary>
internal static class ModelSummary
{
    /// <summary>Summarizes.</summary>
    /// <param name="definition">The model, its head untied where the recipe wants that.</param>
    /// <param name="recipe">The recipe.</param>
    /// <param name="method">What chooses codes where a rule names no method.</param>
    /// <param name="pieces">What is looked at, where something is calibrated; null where nothing is.</param>
    /// <param name="target">The format that the recipe was fitted to; null for none.</param>
    /// <param name="epochs">How often training goes over its data; null where nothing is trained.</param>
    /// <param name="hasIdleData">Whether data were given that nothing looks at.</param>
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
