using Nibble.Recipes;

namespace Nibble.Cli.Tests.Commands;

public sealed class RecipesCommandTests : IDisposable
{
    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task ListsEveryPresetWithItsUse()
    {
        var run = await CommandRun.Succeeds("recipes");
        var listed = (await CommandRun.Succeeds("recipes", "--json")).Json.GetProperty("recipes").EnumerateArray().ToList();

        Assert.All(RecipePresets.Names, name => Assert.Contains($" {name} ", run.Output, StringComparison.Ordinal));
        Assert.Equal(RecipePresets.Names, listed.Select(preset => preset.GetProperty("name").GetString()));
        Assert.All(listed, preset => Assert.EndsWith(".", preset.GetProperty("use").GetString(), StringComparison.Ordinal));
    }

    [Fact]
    public async Task ExplainsARecipe()
    {
        var run = await CommandRun.Succeeds("recipes", "w4a8-g32-static-mse-gptq-kv8");

        Assert.Matches(@"lm_head +float +float", run.Output);
        Assert.Matches(@"\* +int4 asymmetric per group 32, searched +int8 asymmetric per tensor, least squared error +gptq", run.Output);
        Assert.Contains("key-value cache: keys int8 asymmetric per token", run.Output, StringComparison.Ordinal);
        Assert.Contains("ptq: calibrates on 64 windows of 256 tokens", run.Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("w2a16-g32")]
    [InlineData("hybrid-attention-qat")]
    public async Task PrintsARecipeThatIsARecipeFile(string name)
    {
        var run = await CommandRun.Succeeds("recipes", name, "--json");
        var path = folder.Write("mine.json", run.Output);

        Assert.Equal(RecipeFile.ToJson(RecipePresets.Parse(name)), RecipeFile.ToJson(RecipeFile.Load(path)));
    }

    [Fact]
    public async Task AnUnknownPresetIsAWrongUsage()
    {
        var run = await CommandRun.Of("recipes", "w9a16");

        Assert.Equal(ExitCode.Usage, run.ExitCode);
        Assert.Contains("w9a16", run.Error, StringComparison.Ordinal);
    }
}
