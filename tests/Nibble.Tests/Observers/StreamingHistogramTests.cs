using Nibble.Tests.Numerics.Kernels;
using Nibble.Observers;

namespace Nibble.Tests.Observers;

public class StreamingHistogramTests
{
    [Fact]
    public void CountsAreConservedWhateverTheValues() =>
        Gens.Any.Array[1, 100].Array[1, 4].Sample(
            batches =>
            {
                var histogram = new StreamingHistogram();
                foreach (var batch in batches)
                {
                    histogram.Observe(batch);
                }

                var finite = batches.SelectMany(batch => batch).Where(float.IsFinite).ToArray();
                var bins = histogram.Bins();
                Assert.Equal(finite.Length, histogram.Count);
                Assert.Equal(finite.Count(value => value == 0), histogram.Zeros);
                Assert.Equal(finite.Length - histogram.Zeros, bins.Sum(bin => bin.Count));
                foreach (var bin in bins)
                {
                    // Only the highest value of all may lie on the upper edge of its bin.
                    Assert.Equal(bin.Count,
                        finite.Count(value => value != 0 && value >= bin.Low && (value < bin.High || value == histogram.Range.Max && value == bin.High)));
                }
            },
            iter: 50);

    [Fact]
    public void TheStateDoesNotDependOnTheOrderOfValuesAndMerges() =>
        Gens.Any.Array[1, 60].Array[2, 4].Sample(
            batches =>
            {
                var whole = new StreamingHistogram();
                var merged = new StreamingHistogram();
                foreach (var batch in batches)
                {
                    whole.Observe(batch);
                    var part = new StreamingHistogram();
                    part.Observe(batch.Reverse().ToArray());
                    part.Merge(merged);
                    merged = part;
                }

                Assert.Equal(whole.Bins(), merged.Bins());
                Assert.Equal((whole.Count, whole.Zeros, whole.NonFiniteCount), (merged.Count, merged.Zeros, merged.NonFiniteCount));
            },
            iter: 50);

    [Fact]
    public void TheWidthIsTheLeastPowerOfTwoThatHoldsAllValues()
    {
        var histogram = new StreamingHistogram();
        histogram.Observe([2047.5f, -2048]);
        Assert.Equal(1, histogram.BinWidth);
        histogram.Observe([2048]);
        Assert.Equal(2, histogram.BinWidth);
        Assert.Equal([new HistogramBin(-2048, -2046, 1), new HistogramBin(2046, 2048, 1), new HistogramBin(2048, 2048, 1)], histogram.Bins());
    }
}
