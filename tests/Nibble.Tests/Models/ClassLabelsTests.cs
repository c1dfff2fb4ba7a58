using Nibble.Models;

namespace Nibble.Tests.Models;

public sealed class ClassLabelsTests
{
    [Theory]
    [InlineData("1 0 1", "0 1")]
    [InlineData("2 0", "0 1 2")]
    [InlineData("1 1", "0 1")]
    [InlineData("b a b", "a b")]
    [InlineData("1 two", "1 two")]
    [InlineData("7 1000000", "1000000 7")]
    [InlineData("-1 1", "-1 1")]
    [InlineData("0 0", "0")]
    public void ClassesOfDataAreNumbersInTheirOrderOrNamesInAlphabeticalOrder(string labels, string expected) =>
        Assert.Equal(expected, string.Join(' ', ClassLabels.OfData(labels.Split(' ')).Names));

    [Fact]
    public void AnythingIsANameWhereNumbersAreFarApart()
    {
        var labels = ClassLabels.OfData(["7", "1000000"]);
        Assert.Equal((0f, 1f), (labels.Parse("1000000", "line 1"), labels.Parse("7", "line 2")));
    }

    [Fact]
    public void ALabelIsANameOrTheNumberOfAClass()
    {
        var labels = new ClassLabels(["bad", "good"]);
        Assert.Equal([0, 1, 1, 0], ((string[])["bad", "GOOD", "1", "0"]).Select(label => labels.Parse(label, "line 1")));
        Assert.False(labels.Knows("2"));
        Assert.Equal(
            "line 3 ends in 'fair', expected a class of the model: 0 to 1, or bad, good",
            Assert.Throws<NibbleException>(() => labels.Parse("fair", "line 3")).Message);
    }

    [Fact]
    public void ConfigurationsKeepTheNames()
    {
        var labels = new ClassLabels(["bad", "so so", "good"]);
        Assert.Equal(labels.Names, ClassLabels.Of(labels.AddTo("""{"model_type":"bert","num_labels":7}""")).Names);
        Assert.Equal(["LABEL_0", "LABEL_1"], ClassLabels.Of("{}").Names);
        Assert.Equal(["LABEL_0", "LABEL_1", "LABEL_2"], ClassLabels.Of("""{"num_labels":3}""").Names);
        Assert.Equal(["zero", "ten"], ClassLabels.Of("""{"id2label":{"10":"ten","9":"zero"}}""").Names);
    }
}
