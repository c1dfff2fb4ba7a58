using Nibble.Planning;

namespace Nibble.Tests.Planning;

public class LossCurveTests
{
    private static readonly int[] Lengths = [10, 20, 40];

    [Fact]
    public void APowerLawIsContinuedAndTheTruthLiesInTheInterval() =>
        Gen.Select(Gen.Double[0.02, 3], Gen.Double[0.05, 0.35], Gen.Int[60, 400]).Sample((size, exponent, steps) =>
        {
            double Law(int n) => size * Math.Pow(n, -exponent);

            var predicted = LossCurve.Gap(Points(Law), steps);

            Assert.True(predicted.Holds(Law(steps)), $"{predicted} against {Law(steps)}");
            Assert.True(predicted.Value < Law(Lengths[^1]), "a longer training closes more of the gap");
        });

    [Fact]
    public void TheSteepnessIsLearnedFromThePoints()
    {
        var (steep, flat) = (LossCurve.Gap(Points(n => 2 * Math.Pow(n, -0.4)), 300),
            LossCurve.Gap(Points(n => Math.Pow(n, -0.4) * 2 * Math.Pow(n / 40d, 0.3)), 300));

        Assert.True(steep.Value < flat.Value, $"{steep.Value} < {flat.Value}: both end at the same gap after 40 steps");
    }

    [Fact]
    public void NoGapStaysNoGap()
    {
        var predicted = LossCurve.Gap(Points(_ => 0), 300);

        Assert.Equal(0, predicted.Value, 1e-12);
        Assert.True(predicted.Holds(0.01), "another seed may well make a hundredth of a nat");
    }

    [Fact]
    public void AControlThatFallsWithTheLogarithmIsContinued() =>
        Gen.Select(Gen.Double[-0.3, 0.02], Gen.Double[-0.2, 0.2], Gen.Int[60, 400]).Sample((slope, start, steps) =>
        {
            double Line(int n) => start + (slope * Math.Log(n));

            Assert.True(LossCurve.Control(Points(Line), steps) is var predicted && predicted.Holds(Line(steps)), $"{predicted} against {Line(steps)}");
        });

    [Fact]
    public void FartherAheadIsLessSure()
    {
        var points = Points(n => 1.5 * Math.Pow(n, -0.25));

        Assert.True(LossCurve.Control(points, 60).Half < LossCurve.Control(points, 600).Half);
    }

    [Fact]
    public void WithoutPointsNothingIsPredicted() => Assert.Throws<ArgumentOutOfRangeException>(() => LossCurve.Gap([], 300));

    private static LengthPoint[] Points(Func<int, double> law) => [.. Lengths.Select(n => new LengthPoint(n, law(n), 0.002))];
}
