using Nibble.Recipes;

namespace Nibble.Tests.Recipes;

public sealed class RecipeYamlTests
{
    [Fact]
    public void WriteThenParseIsTheIdentity() => AnyRecipe.Recipe.Sample(recipe =>
        Assert.Equal(RecipeFile.ToJson(recipe), RecipeFile.ToJson(RecipeFile.ParseYaml(RecipeYaml.Write(recipe, "a comment"), "recipe.yaml"))));

    [Fact]
    public void WriteIsReadable()
    {
        var text = RecipeYaml.Write(RecipePresets.Parse("w3a16-g32-gptq"), "made for a test");

        Assert.StartsWith("# made for a test\nname: \"w3a16-g32-gptq\"\nrules:\n  - pattern: \"lm_head\"\n    weights: float\n", text,
            StringComparison.Ordinal);
        Assert.Contains("    weights: { bits: 3, symmetric: false, granularity: group, groupSize: 32, scale: float16, range: search }\n", text,
            StringComparison.Ordinal);
        Assert.Contains("    algorithms: [gptq]\n", text, StringComparison.Ordinal);
    }
}
