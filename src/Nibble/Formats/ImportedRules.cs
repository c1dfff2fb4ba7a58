using Nibble.Artifacts;
using Nibble.Recipes;

namespace Nibble.Formats;

/// <summary>Recipe rules that describe the layers of an imported model.</summary>
internal static class ImportedRules
{
    /// <summary>A rule with the most frequent scheme for all layers, after the rules of layers with another scheme or none.</summary>
    /// <param name="layers">The quantized layers, at least one.</param>
    /// <param name="floatLayers">The linear layers that are float.</param>
    public static IReadOnlyList<RecipeRule> Of(IReadOnlyList<QuantizedLayer> layers, IEnumerable<string> floatLayers)
    {
        ArgumentNullException.ThrowIfNull(layers);
        ArgumentNullException.ThrowIfNull(floatLayers);
        var most = layers.GroupBy(layer => (layer.Weight.Scheme, Input: layer.Input?.Scheme)).MaxBy(group => group.Count())!.Key;
        return
        [
            .. floatLayers.Select(name => new RecipeRule(name, Weights: null)),
            .. layers.Where(layer => (layer.Weight.Scheme, layer.Input?.Scheme) != most).Select(layer => Rule(layer.Name, layer)),
            Rule("*", layers.First(layer => (layer.Weight.Scheme, layer.Input?.Scheme) == most)),
        ];

        static RecipeRule Rule(string pattern, QuantizedLayer layer) =>
            new(pattern, layer.Weight.Scheme, layer.Input is { } input ? new ActivationRule(input.Scheme) : null);
    }
}
