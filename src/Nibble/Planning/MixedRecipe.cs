using Nibble.Recipes;

namespace Nibble.Planning;

/// <summary>Combines the rules of many layers into one recipe.</summary>
internal static class MixedRecipe
{
    /// <summary>Combines rules into a recipe whose patterns cover what most layers, or most layers of a kind, have in common.</summary>
    /// <param name="name">The recipe's name.</param>
    /// <param name="layers">The layers, in the model's order, each with its rule. The rule's pattern is ignored. Null leaves a layer in float.</param>
    /// <param name="settings">The recipe whose PTQ and QAT settings are used.</param>
    public static Recipe Create(string name, IReadOnlyList<KeyValuePair<string, RecipeRule?>> layers, Recipe settings)
    {
        ArgumentNullException.ThrowIfNull(layers);
        ArgumentNullException.ThrowIfNull(settings);
        var rules = layers.Select(
            layer => (Name: layer.Key, Kind: KindOf(layer.Key),
            Rule: (layer.Value ?? new RecipeRule(string.Empty, Weights: null)) with { Pattern = string.Empty })).ToList();
        var defaults = Commonest(rules.Select(layer => layer.Rule));
        var kinds = rules.GroupBy(layer => layer.Kind).ToDictionary(group => group.Key, group => Commonest(group.Select(layer => layer.Rule)));

        // Layers without a number, such as the head, are named in full, because there is only one of each.
        var exceptions = rules.Where(layer => layer.Rule != kinds[layer.Kind] || (layer.Kind == layer.Name && layer.Rule != defaults))
            .Select(layer => layer.Rule with { Pattern = layer.Name });
        var patterns = kinds.Where(kind => kind.Value != defaults && kind.Key.StartsWith('*')).Select(kind => kind.Value with { Pattern = kind.Key });
        return settings with { Name = name, Rules = [.. exceptions, .. patterns, defaults with { Pattern = "*" }] };
    }

    private static RecipeRule Commonest(IEnumerable<RecipeRule> rules) => rules.GroupBy(rule => rule).MaxBy(group => group.Count())!.Key;

    /// <summary>A pattern for all layers that differ only in the block's number, such as <c>*.mlp.up_proj</c>.</summary>
    private static string KindOf(string layer)
    {
        var parts = layer.Split('.');
        var number = Array.FindLastIndex(parts, part => part.Length > 0 && part.All(char.IsAsciiDigit));
        return number < 0 ? layer : "*." + string.Join('.', parts[(number + 1)..]);
    }
}
