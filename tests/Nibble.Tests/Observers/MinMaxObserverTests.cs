using Nibble.Numerics;
using Nibble.Observers;

namespace Nibble.Tests.Observers;

public class MinMaxObserverTests
{
    private static readonly QuantizationScheme Scheme = new(8, symmetric: false, Granularity.Tensor);

    [Fact]
    public void MinMaxIsTheLowestAndTheHighestOfAllBatches()
    {
        var observer = new MinMaxObserver();
        observer.Observe([1, 2, float.NaN]);
        observer.Observe([-3, 0.5f]);
        Assert.Equal(new ValueRange(-3, 2), observer.Range(Scheme));
    }

    [Fact]
    public void TheAveragesMoveByTheConstant()
    {
        var observer = new MovingAverageMinMaxObserver(0.25);
        observer.Observe([-1, 1]);
        observer.Observe([-3, 5]);
        observer.Observe([float.NaN]);
        observer.Observe([0.5f, 2]);
        // -1, then -1 - 2/4 = -1.5, then -1.5 + 2/4 = -1; 1, then 1 + 4/4 = 2, then 2.
        Assert.Equal(new ValueRange(-1, 2), observer.Range(Scheme));
    }

    [Fact]
    public void MergedAveragesAreWeighedByTheValuesSeen()
    {
        var (one, three) = (new MovingAverageMinMaxObserver(), new MovingAverageMinMaxObserver());
        one.Observe([4]);
        three.Observe([-8, 0, 8]);
        one.Merge(three);
        // (4 + 3 * -8) / 4 and (4 + 3 * 8) / 4.
        Assert.Equal(new ValueRange(-5, 7), one.Range(Scheme));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1.1)]
    [InlineData(double.NaN)]
    public void AnImpossibleConstantIsRefused(double constant) => Assert.Throws<ArgumentOutOfRangeException>(() => new MovingAverageMinMaxObserver(constant));
}
