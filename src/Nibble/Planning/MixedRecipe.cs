using Nibble.Recipes;

namespace Nibble.Planning;

/// <summary>Makes one recipe of many layers' rules.</summary>
internal static class MixedRecipe
{
    /// <summary>Puts rules into a recipe in which patterns stand for what most layers, or most of a kind, have in common.</summary>
    /// <param name="name">What the recipe is called.</param>
    /// <param name="layers">The layers, in the model's order, each with its rule, whose pattern does not count; null leaves a layer float.</param>
    /// <param name="settings">Gives the settings of PTQ and QAT.</param>
    public static Recipe Create(string name, IReadOnlyList<KeyValuePair<string, RecipeRule?>> layers, Recipe settings)
    {
        ArgumentNullException.ThrowIfNull(layers);
        ArgumentNullException.ThrowIfNull(settings);
        var rules = layers.Select(
            layer => (Name: layer.Key, Kind: KindOf(layer.Key),
            Rule: (layer.Value ?? new RecipeRule(string.Empty, Weights: null)) with { Pattern = string.Empty })).ToList();
        var usual = Commonest(rules.Select(layer => layer.Rule));
        var kinds = rules.GroupBy(layer => layer.Kind).ToDictionary(group => group.Key, group => Commonest(group.Select(layer => layer.Rule)));

        // Layers that have no number, such as the head, are named in full: there is but one.
        var exceptions = rules.Where(layer => layer.Rule != kinds[layer.Kind] || (layer.Kind == layer.Name && layer.Rule != usual))
            .Select(layer => layer.Rule with { Pattern = layer.Name });
        var patterns = kinds.Where(kind => kind.Value != usual && kind.Key.StartsWith('*')).Select(kind => kind.Value with { Pattern = kind.Key });
        return settings with { Name = name, Rules = [.. exceptions, .. patterns, usual with { Pattern = "*" }] };
    }

    private static RecipeRule Commonest(IEnumerable<RecipeRule> rules) => rules.GroupBy(rule => rule).MaxBy(group => group.Count())!.Key;

    /// <summary>A pattern for all layers that differ in the block's number alone: <c>*.mlp.up_proj</c>.</summary>
    private static string KindOf(string layer)
    {
        var parts = layer.Split('.');
        var number = Array.FindLastIndex(parts, part => part.Length > 0 && part.All(char.IsAsciiDigit));
        return number < 0 ? layer : "*." + string.Join('.', parts[(number + 1)..]);
    }
}
