using Nibble.Models;
using Nibble.Recipes;

namespace Nibble.Torch.Models;

/// <summary>Gives a head that is tied to the embedding a matrix of its own, where what happens to it is another than what happens to the embedding.</summary>
internal static class TiedHead
{
    /// <summary>Whether a recipe quantizes the tied head of a model: whether the rule that decides about it speaks of the head alone.</summary>
    /// <remarks>A rule that speaks of all layers leaves it to be the embedding: nobody has asked for a matrix more.</remarks>
    public static bool IsNamed(Recipe recipe, ModelDefinition definition) =>
        definition.Tied is { Layer: var head } && recipe.RuleFor(head) is { } rule && !definition.QuantizableLayers.Any(layer => rule.Matches(layer.Name));
}
