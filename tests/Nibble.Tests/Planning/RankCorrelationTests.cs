using Nibble.Planning;

namespace Nibble.Tests.Planning;

public sealed class RankCorrelationTests
{
    [Theory]
    [InlineData(new double[] { 1, 2, 3, 4 }, new double[] { 10, 20, 30, 1000 }, 1)]
    [InlineData(new double[] { 1, 2, 3, 4 }, new double[] { 4, 3, 2, 1 }, -1)]
    [InlineData(new double[] { 106, 100, 86, 101, 99, 103, 97, 113, 112, 110 }, new double[] { 7, 27, 2, 50, 28, 29, 20, 12, 6, 17 }, -0.17575757575757575)]
    [InlineData(new double[] { 1, 2, 2, 3 }, new double[] { 1, 2, 3, 4 }, 0.9486832980505138)]
    [InlineData(new double[] { 5, 5, 1, 1 }, new double[] { 2, 2, 0, 0 }, 1)]
    public void SpearmanOfKnownValues(double[] first, double[] second, double expected)
    {
        Assert.Equal(expected, RankCorrelation.Spearman(first, second), 1e-12);
        Assert.Equal(expected, RankCorrelation.Spearman(second, first), 1e-12);
    }

    [Fact]
    public void SpearmanDependsOnTheOrderAlone() => Gen.Int[-9, 9].Select(value => (double)value).Array[2, 30].Sample(values =>
    {
        var other = values.Index().Select(item => item.Item * (item.Index % 3)).ToArray();
        var expected = RankCorrelation.Spearman(values, other);
        Assert.Equal(expected, RankCorrelation.Spearman([.. values.Select(Math.Exp)], other), 1e-9);
        Assert.True(double.IsNaN(expected) || Math.Abs(expected) <= 1 + 1e-9);
    });

    [Fact]
    public void SpearmanOfEqualValuesIsNotANumber() => Assert.True(double.IsNaN(RankCorrelation.Spearman([1, 1, 1], [1, 2, 3])));

    [Fact]
    public void SpearmanRefusesValuesWithoutAPartner() => Assert.Throws<ArgumentException>(() => RankCorrelation.Spearman([1, 2], [1]));
}
