using Nibble.Recipes;

namespace Nibble.Tests.Recipes;

public class WeightAlgorithmsTests
{
    [Fact]
    public void ParseReadsItsOwnNames() => AnyRecipe.Algorithms.Sample(algorithms => WeightAlgorithms.Parse(algorithms.Names) == algorithms);

    [Theory]
    [InlineData("rtn", false)]
    [InlineData("hqq", false)]
    [InlineData("importance", true)]
    [InlineData("gptq", true)]
    [InlineData("awq", true)]
    [InlineData("smoothquant", true)]
    [InlineData("signround", true)]
    [InlineData("debias", true)]
    public void NeedsDataOfWhatLooksAtActivations(string name, bool expected) => Assert.Equal(expected, WeightAlgorithms.Parse([name]).NeedsData);

    [Fact]
    public void ParseSuggestsTheNameMeant() =>
        Assert.Contains("Did you mean gptq?", Assert.Throws<NibbleException>(() => WeightAlgorithms.Parse(["gptqq"])).Message, StringComparison.Ordinal);
}
