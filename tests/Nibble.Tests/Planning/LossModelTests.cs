using Nibble.Planning;

namespace Nibble.Tests.Planning;

public sealed class LossModelTests
{
    [Fact]
    public void FitFindsAPowerAndItsInverse()
    {
        var model = LossModel.Fit([.. ((double[])[0.01, 0.1, 0.5, 1, 2]).Select(sum => new Observation(sum, 1.5 * Math.Pow(sum, 1.2)))]);

        Assert.Equal(1.5 * Math.Pow(0.3, 1.2), model.Predict(0.3).Loss, 1e-9);
        Assert.Equal(0.3, model.SumFor(model.Predict(0.3).Loss), 1e-9);
        Assert.Equal(0, model.Spread, 1e-9);
    }

    [Fact]
    public void IntervalsHoldNineTenthsOfWhatTheyWereFittedTo() => Gen.Select(Gen.Double[0.01, 3], Gen.Double[-0.5, 0.5]).Array[8, 40].Sample(items =>
    {
        List<Observation> observations = [.. items.Select(item => new Observation(item.Item1, item.Item1 * Math.Exp(item.Item2)))];
        var outside = Enumerable.Range(0, observations.Count).Count(i =>
        {
            var others = LossModel.Fit([.. observations.Where((_, other) => other != i)]);
            var predicted = others.Predict(observations[i].Sum).Loss;
            return Math.Abs(observations[i].Loss - predicted) > (LossModel.Fit(observations).Spread * (predicted + 1e-3)) + 1e-12;
        });
        Assert.True(outside <= observations.Count / 10);
    });

    [Fact]
    public void PredictWithoutMeasurementsTakesTheSum() => Assert.Equal(0.25, LossModel.Fit([]).Predict(0.25).Loss, 1e-12);
}
