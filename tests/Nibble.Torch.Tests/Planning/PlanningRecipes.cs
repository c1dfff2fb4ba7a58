using Nibble.Recipes;

namespace Nibble.Torch.Tests.Planning;

/// <summary>Presets that calibrate on as little as tiny models need.</summary>
internal static class PlanningRecipes
{
    public static Recipe Parse(string preset)
    {
        var recipe = RecipePresets.Parse(preset);
        return recipe with { Ptq = recipe.Ptq with { Windows = 8, SequenceLength = 32 } };
    }
}
