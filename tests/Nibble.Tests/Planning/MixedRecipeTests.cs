using Nibble.Planning;
using Nibble.Recipes;

namespace Nibble.Tests.Planning;

public sealed class MixedRecipeTests
{
    private static readonly string[] Kinds = ["self_attn.k_proj", "mlp.up_proj", "mlp.down_proj"];

    [Fact]
    public void CreateGivesEveryLayerItsRule() => Gen.Int[2, 4].Array[1 + (5 * Kinds.Length)].Sample(widths =>
    {
        var layers = Layers().Zip(widths, (layer, width) => KeyValuePair.Create(layer, width == 4 && layer == "lm_head" ? null : Rule(width))).ToList();
        var recipe = MixedRecipe.Create("mixed", layers, RecipePresets.Parse("w3a16-g32"));

        Assert.All(layers, layer => Assert.Equal(layer.Value?.Weights, recipe.RuleFor(layer.Key)?.Weights));
        Assert.True(recipe.Rules.Count <= layers.Count + 1);
    });

    [Fact]
    public void CreateNamesOnlyWhatDiffers()
    {
        var layers = Layers().Select(
            layer => KeyValuePair.Create(
            layer, layer == "lm_head" ? null : Rule(layer.Contains("k_proj", StringComparison.Ordinal) ? 4 : layer == "model.layers.2.mlp.up_proj" ? 2 : 3)))
            .ToList();

        Assert.Equal(["model.layers.2.mlp.up_proj", "lm_head", "*.self_attn.k_proj", "*"],
            MixedRecipe.Create("mixed", layers, RecipePresets.Parse("w3a16-g32")).Rules.Select(rule => rule.Pattern));
    }

    private static IEnumerable<string> Layers() =>
        Enumerable.Range(0, 5).SelectMany(block => Kinds.Select(kind => $"model.layers.{block}.{kind}")).Append("lm_head");

    private static RecipeRule? Rule(int width) => RecipePresets.Parse($"w{width}a16-g32-gptq").RuleFor("model.layers.0.mlp.up_proj");
}
