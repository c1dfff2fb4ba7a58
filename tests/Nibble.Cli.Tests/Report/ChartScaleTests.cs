using Nibble.Cli.Report;

namespace Nibble.Cli.Tests.Report;

public class ChartScaleTests
{
    [Fact]
    public void TicksAreRoundNumbersWithinTheAxis()
    {
        Assert.Equal(["3", "4", "5", "6", "7", "8"], Labels(ChartScale.Linear([2.5, 8.5])));
        Assert.Equal(["1", "10", "100"], Labels(ChartScale.Logarithmic([0.6, 250])));
        Assert.Equal(["-0.01", "0", "0.01", "0.1", "1"], Labels(ChartScale.Loss([-0.02, 0, 4.8])));
        Assert.Equal(["0", "0.002", "0.004", "0.006", "0.008"], Labels(ChartScale.Loss([0, 0.008])));
    }

    [Fact]
    public void SingleValueStandsInTheMiddleOfItsAxis()
    {
        Assert.Equal(0.5, ChartScale.Linear([4]).Position(4), 9);
        Assert.Equal(0.5, ChartScale.Logarithmic([4]).Position(4), 9);
    }

    [Fact]
    public void LossAxisRisesThroughZero() => Gen.Double[-20, 20].Array[2, 20].Sample(values =>
    {
        var scale = ChartScale.Loss(values);
        var sorted = values.Order().ToArray();
        for (var i = 1; i < sorted.Length; i++)
        {
            Assert.True(scale.Position(sorted[i - 1]) <= scale.Position(sorted[i]));
        }

        Assert.InRange(scale.Position(sorted[0]), 0, 1);
        Assert.InRange(scale.Position(sorted[^1]), 0, 1);
    });

    private static IEnumerable<string> Labels(ChartScale scale) => scale.Ticks.Select(ChartScale.Label);
}
