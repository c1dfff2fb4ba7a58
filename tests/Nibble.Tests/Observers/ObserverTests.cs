using Nibble.Tests.Numerics.Kernels;
using Nibble.Numerics;
using Nibble.Observers;
using Nibble.Recipes;

namespace Nibble.Tests.Observers;

/// <summary>What holds for every observer.</summary>
public class ObserverTests
{
    private static readonly QuantizationScheme Asymmetric = new(8, symmetric: false, Granularity.Tensor);

    public static TheoryData<ObserverKind> Kinds { get; } = [.. Enum.GetValues<ObserverKind>()];

    [Theory]
    [InlineData(ObserverKind.MinMax, typeof(MinMaxObserver))]
    [InlineData(ObserverKind.MovingAverage, typeof(MovingAverageMinMaxObserver))]
    [InlineData(ObserverKind.Percentile, typeof(PercentileObserver))]
    [InlineData(ObserverKind.Mse, typeof(MseObserver))]
    [InlineData(ObserverKind.Entropy, typeof(EntropyObserver))]
    public void CreateMakesTheNamedObserver(ObserverKind kind, Type type) => Assert.IsType(type, Observer.Create(kind));

    [Fact]
    public void CreateRefusesAnUnknownKind() => Assert.Throws<ArgumentOutOfRangeException>(() => Observer.Create((ObserverKind)99));

    [Theory]
    [MemberData(nameof(Kinds))]
    public void TheRangeIsFiniteOrderedAndInsideWhatWasSeen(ObserverKind kind) =>
        Gen.Select(Gens.Any.Array[1, 60], Gens.Scheme).Sample(
            (values, scheme) =>
            {
                var observer = Observer.Create(kind);
                observer.Observe(values);
                var finite = values.Where(float.IsFinite).ToArray();
                Assert.Equal(finite.Length, observer.Count);
                Assert.Equal(values.Length - finite.Length, observer.NonFiniteCount);
                if (finite.Length == 0)
                {
                    Assert.Throws<InvalidOperationException>(() => observer.Range(scheme));
                    return;
                }

                var range = observer.Range(scheme);
                Assert.True(range.Min <= range.Max, $"{range}");
                Assert.InRange(range.Min, Math.Min(finite.Min(), 0), float.MaxValue);
                Assert.InRange(range.Max, float.MinValue, Math.Max(finite.Max(), 0));
            },
            iter: 30);

    [Theory]
    [MemberData(nameof(Kinds))]
    public void EitherOrderOfMergingGivesTheSameRange(ObserverKind kind) =>
        Gen.Select(Gens.Any.Array[0, 40], Gens.Finite.Array[1, 40], Gens.Scheme).Sample(
            (a, b, scheme) =>
            {
                var (intoA, intoB) = (Seen(kind, a), Seen(kind, b));
                intoA.Merge(Seen(kind, b));
                intoB.Merge(Seen(kind, a));
                Assert.Equal(intoA.Count, intoB.Count);
                Assert.Equal(intoA.NonFiniteCount, intoB.NonFiniteCount);
                Assert.Equal(intoA.Range(scheme), intoB.Range(scheme));
            },
            iter: 15);

    [Theory]
    [InlineData(ObserverKind.MinMax)]
    [InlineData(ObserverKind.Percentile)]
    [InlineData(ObserverKind.Mse)]
    [InlineData(ObserverKind.Entropy)]
    public void SplitCalibrationGivesTheRangeOfOneObserver(ObserverKind kind) =>
        Gen.Select(Gens.Finite.Array[1, 40].Array[1, 5], Gens.Scheme).Sample(
            (batches, scheme) =>
            {
                var whole = Seen(kind, [.. batches.SelectMany(batch => batch)]);
                var merged = Observer.Create(kind);
                foreach (var batch in batches.Reverse())
                {
                    merged.Merge(Seen(kind, batch));
                }

                Assert.Equal(whole.Range(scheme), merged.Range(scheme));
            },
            iter: 15);

    [Theory]
    [MemberData(nameof(Kinds))]
    public void ConstantsAndZerosHaveARangeThatKeepsThem(ObserverKind kind)
    {
        foreach (var constant in new[] { 0f, 2.5f, -7f, 1e-30f, float.MaxValue })
        {
            var values = new float[10];
            Array.Fill(values, constant);
            var parameters = QuantizationParameters.FromRange(Seen(kind, values).Range(Asymmetric), Asymmetric);
            Assert.Equal(constant, ScalarQuantizer.FakeQuantize(constant, parameters, Asymmetric.Codes), Math.Abs(constant) * 1e-5f);
        }
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void NothingSeenIsNoRange(ObserverKind kind)
    {
        var observer = Seen(kind, [float.NaN, float.PositiveInfinity]);
        observer.Observe([]);
        observer.Merge(Observer.Create(kind));
        Assert.Equal((0, 2), (observer.Count, observer.NonFiniteCount));
        Assert.Throws<InvalidOperationException>(() => observer.Range(Asymmetric));
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void OnlyObserversOfOneKindMerge(ObserverKind kind)
    {
        foreach (var other in Enum.GetValues<ObserverKind>().Where(other => other != kind))
        {
            Assert.Throws<ArgumentException>(() => Observer.Create(kind).Merge(Observer.Create(other)));
        }
    }

    [Fact]
    public void OnlyObserversSetUpAlikeMerge()
    {
        Assert.Throws<ArgumentException>(() => new PercentileObserver(99).Merge(new PercentileObserver()));
        Assert.Throws<ArgumentException>(() => new MovingAverageMinMaxObserver(0.5).Merge(new MovingAverageMinMaxObserver()));
    }

    [Theory]
    [InlineData(ObserverKind.Percentile, 8)]
    [InlineData(ObserverKind.Mse, 8)]
    [InlineData(ObserverKind.Mse, 4)]
    [InlineData(ObserverKind.Entropy, 8)]
    public void AnOutlierIsClippedOnItsSideOnlyWhenAsymmetric(ObserverKind kind, int bits)
    {
        // One value in a hundred thousand is a hundred times the rest.
        var values = Enumerable.Range(0, 100_000).Select(i => (float)Math.Sin(i)).Append(100f).ToArray();
        var scheme = new QuantizationScheme(bits, symmetric: false, Granularity.Tensor);
        var range = Seen(kind, values).Range(scheme);
        Assert.InRange(range.Min, -1f, kind == ObserverKind.Mse ? -0.4f : -0.8f);
        Assert.InRange(range.Max, 0.4f, 90f);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void ValuesAfterAReluStayOneSided(ObserverKind kind)
    {
        var values = Enumerable.Range(0, 50_000).Select(i => (float)Math.Max(0, Math.Sin(i * 0.7) * (1 + (i % 3)))).ToArray();
        var range = Seen(kind, values).Range(Asymmetric);
        Assert.Equal(0, range.Min);
        Assert.InRange(range.Max, 2f, 3f);
        Assert.Equal(-128, QuantizationParameters.FromRange(range, Asymmetric).ZeroPoint);
    }

    private static IObserver Seen(ObserverKind kind, float[] values)
    {
        var observer = Observer.Create(kind);
        observer.Observe(values);
        return observer;
    }
}
