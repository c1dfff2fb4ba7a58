using Nibble.Models;
using Nibble.Recipes;

namespace Nibble.Torch.Models;

/// <summary>Decides whether a head that is tied to the embedding needs its own matrix because the two are quantized differently.</summary>
internal static class TiedHead
{
    /// <summary>Whether a recipe quantizes the tied head of a model, that is, whether the rule that applies to it matches only the head.</summary>
    /// <remarks>A rule that matches all layers leaves the head tied, because nobody asked for an extra matrix.</remarks>
    public static bool IsNamed(Recipe recipe, ModelDefinition definition) =>
        definition.Tied is { Layer: var head } && recipe.RuleFor(head) is { } rule && !definition.QuantizableLayers.Any(layer => rule.Matches(layer.Name));
}
