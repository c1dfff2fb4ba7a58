using Nibble.Numerics;
using Nibble.Observers;

namespace Nibble.Tests.Observers;

/// <summary>Percentile, squared error and entropy against values computed by hand or by brute force.</summary>
public class HistogramObserverTests
{
    private static readonly QuantizationScheme Asymmetric = new(8, symmetric: false, Granularity.Tensor);
    private static readonly QuantizationScheme Symmetric = new(8, symmetric: true, Granularity.Tensor);

    [Theory]
    [InlineData(99, -990, 989)] // leaves out 10 at each end
    [InlineData(99.99, -1000, 999)] // leaves out none
    [InlineData(100, -1000, 999)]
    public void PercentileLeavesOutItsShareAtEachEnd(double percentile, float min, float max)
    {
        // Whole numbers from -1000 to 999: bins of width 1, so that the ends are exact but for their place inside a bin.
        var observer = new PercentileObserver(percentile);
        observer.Observe(Enumerable.Range(-1000, 2000).Select(i => (float)i).ToArray());
        var range = observer.Range(Asymmetric);
        Assert.Equal(min, range.Min, 1f);
        Assert.Equal(max, range.Max, 1f);
    }

    [Fact]
    public void PercentileKeepsItsShareOfRandomValues() =>
        Gen.Select(Gen.Float[-50, 100].Array[200, 2000], Gen.Double[60, 99.9]).Sample(
            (values, percentile) =>
            {
                var observer = new PercentileObserver(percentile);
                observer.Observe(values);
                var range = observer.Range(Asymmetric);
                var slack = 100d / 1024;
                var excess = Math.Floor(values.Length * ((100 - percentile) / 200));
                Assert.True(values.Count(value => value < range.Min - slack) <= excess);
                Assert.True(values.Count(value => value > range.Max + slack) <= excess);
                Assert.True(values.Count(value => value < range.Min + slack) >= excess);
                Assert.True(values.Count(value => value > range.Max - slack) >= excess);
            },
            iter: 50);

    [Fact]
    public void PercentileDoesNotWipeOutWhatIsNearlyAlwaysZero()
    {
        var values = new float[100_000];
        values[17] = 4;
        var observer = new PercentileObserver();
        observer.Observe(values);
        Assert.Equal(new ValueRange(0, 4), observer.Range(Asymmetric));
    }

    [Theory]
    [InlineData(50)]
    [InlineData(100.1)]
    [InlineData(double.NaN)]
    public void AnImpossiblePercentileIsRefused(double percentile) => Assert.Throws<ArgumentOutOfRangeException>(() => new PercentileObserver(percentile));

    [Fact]
    public void TheErrorOfABinIsItsIntegral() =>
        Gen.Select(Gen.Double[-20, 20], Gen.Double[0.01, 10], Gen.Float[0.1f, 3], Gen.Int[-8, 7]).Sample(
            (low, width, scale, zeroPoint) =>
            {
                var (parameters, codes) = (new QuantizationParameters(scale, zeroPoint), new CodeRange(-8, 7));
                const int Points = 10_000;
                var sum = Enumerable.Range(0, Points)
                    .Select(i => low + (width * (i + 0.5) / Points))
                    .Average(value => Math.Pow(value - ScalarQuantizer.FakeQuantize((float)value, parameters, codes), 2));
                var error = MseObserver.SquaredError(
                    [new HistogramBin(low, low + (width / 4), 1), new HistogramBin(low + (width / 4), low + width, 3)], parameters, codes);
                Assert.Equal(4 * sum, error, 1e-3 * (1 + error));
            },
            iter: 30);

    [Fact]
    public void MseIsAtLeastAsGoodAsMinMax()
    {
        // A heavy tail: the cube of a normal-like sum.
        var random = new Random(7);
        var values = Enumerable.Range(0, 20_000).Select(_ => (float)Math.Pow(Enumerable.Range(0, 6).Sum(_ => random.NextDouble() - 0.5), 3)).ToArray();
        foreach (var scheme in new[] { Symmetric, Asymmetric, new QuantizationScheme(4, false, Granularity.Tensor) })
        {
            var (mse, minMax) = (new MseObserver(), new MinMaxObserver());
            mse.Observe(values);
            minMax.Observe(values);
            Assert.True(Error(values, mse.Range(scheme), scheme) <= Error(values, minMax.Range(scheme), scheme) * 1.01, $"{scheme}");
        }

        var coarse = new QuantizationScheme(3, true, Granularity.Tensor);
        var (good, wide) = (new MseObserver(), new MinMaxObserver());
        good.Observe(values);
        wide.Observe(values);
        Assert.True(Error(values, good.Range(coarse), coarse) < 0.5 * Error(values, wide.Range(coarse), coarse));
    }

    [Fact]
    public void EntropyIsTheDivergenceByHand()
    {
        // Codes 0 to 3 of width 2 hold bins {1, 3}, {2, 2}, {4}; above 5 lie 4 values, which P adds to the last bin.
        HistogramBin[] bins = [new(0, 0.5, 1), new(0.5, 1, 3), new(1.5, 2, 2), new(2, 2.5, 2), new(4, 4.5, 4), new(9, 9.5, 4)];
        var found = EntropyObserver.Divergence(bins, new ValueRange(0, 5), new QuantizationParameters(2, 0), new CodeRange(0, 3));
        var expected = (1 / 16d * Math.Log((1 / 16d) / (2 / 12d)))
            + (3 / 16d * Math.Log((3 / 16d) / (2 / 12d)))
            + (2 * 2 / 16d * Math.Log((2 / 16d) / (2 / 12d)))
            + (8 / 16d * Math.Log((8 / 16d) / (4 / 12d)));
        Assert.Equal(expected, found, 12);
    }

    [Fact]
    public void EntropyOfARangeWithoutValuesIsInfinite() =>
        Assert.Equal(double.PositiveInfinity,
            EntropyObserver.Divergence([new(3, 4, 5)], new ValueRange(0, 1), new QuantizationParameters(1, 0), new CodeRange(0, 3)));

    [Fact]
    public void EntropyDoesNotCareHowManyValuesAreZero()
    {
        var values = Enumerable.Range(1, 5000).Select(i => MathF.Exp(-i / 800f)).Append(30f).ToArray();
        var (bare, padded) = (new EntropyObserver(), new EntropyObserver());
        bare.Observe(values);
        padded.Observe(values);
        padded.Observe(new float[100_000]);
        Assert.Equal(bare.Range(Asymmetric), padded.Range(Asymmetric));
        Assert.True(bare.Range(Asymmetric).Max < 30);
    }

    [Fact]
    public void EntropyKeepsTheWholeRangeOfEvenlySpreadValues()
    {
        var observer = new EntropyObserver();
        observer.Observe(Enumerable.Range(-1024, 2048).Select(i => i + 0.5f).ToArray());
        Assert.Equal(new ValueRange(-1023.5f, 1023.5f), observer.Range(Symmetric));
    }

    private static double Error(float[] values, ValueRange range, QuantizationScheme scheme) =>
        Quantizer.SquaredError(values, QuantizationParameters.FromRange(range, scheme), scheme.Codes);
}
