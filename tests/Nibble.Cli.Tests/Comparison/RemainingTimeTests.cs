using Nibble.Cli.Comparison;

namespace Nibble.Cli.Tests.Comparison;

public class RemainingTimeTests
{
    private readonly RemainingTime remaining = new(new Dictionary<string, double> { ["a"] = 10, ["b"] = 20, ["c"] = 1000 });

    [Fact]
    public void RunsOfAnEarlierProcessCountAsDone()
    {
        Assert.Equal(1030, remaining.Seconds);
        remaining.End("a");
        Assert.Equal(1020, remaining.Seconds);
    }

    [Fact]
    public void FinishedRunsCorrectTheEstimateOfTheOthers()
    {
        remaining.Begin("a");
        remaining.End("a");

        // The run was estimated at 10 seconds of 1,030 and took none to speak of.
        Assert.InRange(remaining.Seconds, 1005, 1015);
    }

    [Fact]
    public void ARunThatTakesLongerThanExpectedLeavesTheRest()
    {
        var (quick, after) = (new RemainingTime(new Dictionary<string, double> { ["a"] = 0, ["b"] = 20 }), "b");
        quick.Begin("a");
        Assert.Equal(20, quick.Seconds);
        quick.Begin("unknown");
        quick.End("a");
        quick.End("unknown");
        Assert.Equal(20, quick.Seconds);
        quick.End(after);
        Assert.Equal(0, quick.Seconds);
    }
}
