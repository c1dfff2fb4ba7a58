using Nibble.Tests.Numerics.Kernels;
using Nibble.Algorithms;
using Nibble.Numerics;

namespace Nibble.Tests.Algorithms;

public class ParameterSearchTests
{
    private static readonly Gen<(float[] Values, float[] Importance)> Groups =
        from length in Gen.Int[1, 70]
        from values in Gens.Finite.Array[length]
        from importance in Gen.Frequency((4, Gen.Float[0, 10]), (1, Gen.Const(0f))).Array[length]
        select (values, importance);

    private static readonly Gen<QuantizationScheme> Schemes = Gen.Select(
        Gens.Scheme, Gen.Enum<ScalePrecision>(), (scheme, precision) => scheme with { ScalePrecision = precision });

    [Fact]
    public void IsNeverWorseThanMinMaxAndWhatItReturnsCanBeStored() =>
        Gen.Select(Groups, Schemes).Sample(
            (group, scheme) =>
            {
                var (values, importance) = group;
                var found = ParameterSearch.Search(values, importance, scheme);
                var weights = importance.Any(weight => weight > 0) ? importance : Ones(values.Length);
                var least = Error(values, weights, MinMax(values, scheme), scheme);
                Assert.True(Error(values, weights, found, scheme) <= least * (1 + 1e-12));
                Assert.Equal(QuantizationParameters.RoundScale(found.Scale, scheme.ScalePrecision), found.Scale);
                Assert.InRange(found.ZeroPoint, scheme.Symmetric ? 0 : scheme.Codes.Min, scheme.Symmetric ? 0 : scheme.Codes.Max);
            },
            iter: 500);

    [Fact]
    public void NoImportanceMeansThatAllCountAlike() =>
        Gen.Select(Groups, Schemes).Sample(
            (group, scheme) =>
            {
                var values = group.Values;
                var plain = ParameterSearch.Search(values, [], scheme);
                Assert.Equal(plain, ParameterSearch.Search(values, Ones(values.Length), scheme));
                Assert.Equal(plain, ParameterSearch.Search(values, new float[values.Length], scheme));
            },
            iter: 100);

    [Fact]
    public void OnlyTheRatiosOfImportancesCount() =>
        Gen.Select(Groups, Schemes).Sample(
            (group, scheme) => Assert.Equal(
                ParameterSearch.Search(group.Values, group.Importance, scheme),
                ParameterSearch.Search(group.Values, Array.ConvertAll(group.Importance, weight => weight * 1024), scheme)),
            iter: 100);

    [Theory]
    [InlineData(2, false, 1.01)]
    [InlineData(2, true, 1.01)]
    [InlineData(3, false, 1.1)]
    [InlineData(3, true, 1.1)]
    public void IsOnAverageNearTheOptimumOfAllCodes(int bits, bool symmetric, double factor)
    {
        var scheme = new QuantizationScheme(bits, symmetric, Granularity.Tensor);
        var random = new Random(7);
        var (found, optimum) = (0d, 0d);
        for (var repeat = 0; repeat < 20; repeat++)
        {
            var values = Array.ConvertAll(new float[5], _ => (float)((random.NextDouble() + random.NextDouble() + random.NextDouble()) - 1.5));
            var importance = Array.ConvertAll(values, _ => (float)random.NextDouble());
            var least = LeastOfAllCodes(values, importance, scheme);
            var error = Error(values, importance, ParameterSearch.Search(values, importance, scheme), scheme);
            Assert.True(error >= least * (1 - 1e-5) - 1e-12);
            (found, optimum) = (found + error, optimum + least);
        }

        Assert.True(found <= factor * optimum, $"{found / optimum} times the optimum");
    }

    [Theory]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(8)]
    public void AGridIsFoundAgain(int bits)
    {
        var scheme = new QuantizationScheme(bits, symmetric: false, Granularity.Tensor);
        var values = Enumerable.Range(scheme.Codes.Min, scheme.Codes.Steps + 1).Select(code => 0.5f * (code - 1)).ToArray();
        var found = ParameterSearch.Search(values, [], scheme);
        Assert.Equal(new QuantizationParameters(0.5f, 1), found);
    }

    [Fact]
    public void AnUnimportantOutlierIsClipped()
    {
        var values = Enumerable.Range(0, 128).Select(i => MathF.Sin(i)).Append(10f).ToArray();
        var importance = Ones(129);
        importance[128] = 1e-6f;
        var scheme = new QuantizationScheme(4, symmetric: false, Granularity.Tensor);
        var found = ParameterSearch.Search(values, importance, scheme);
        Assert.InRange(found.Scale, 2 / 16f, 2 / 14f);
    }

    [Theory]
    [InlineData(0f)]
    [InlineData(1e-44f)]
    [InlineData(1e-30f)]
    [InlineData(1e38f)]
    public void ValuesOfEverySizeAreTaken(float size)
    {
        foreach (var scheme in (
            QuantizationScheme[])[new(4, false, Granularity.Tensor), new(4, true, Granularity.Tensor), QuantizationScheme.CreateTernary(Granularity.Tensor)])
        {
            float[] values = [size, -size, size / 2, 0];
            var found = ParameterSearch.Search(values, [1e38f, 1e-38f, 1, 0], scheme);
            Assert.True(float.IsFinite(found.Scale) && found.Scale > 0);
        }
    }

    private static float[] Ones(int length) => Enumerable.Repeat(1f, length).ToArray();

    private static QuantizationParameters MinMax(float[] values, QuantizationScheme scheme) =>
        QuantizationParameters.FromRange(new ValueRange(values.Min(), values.Max()), scheme);

    private static double Error(float[] values, float[] importance, QuantizationParameters parameters, QuantizationScheme scheme) =>
        values.Zip(importance, (value, weight) => weight * Math.Pow(value - ScalarQuantizer.FakeQuantize(value, parameters, scheme.Codes), 2)).Sum();

    /// <summary>The least error over every choice of codes and zero point, each with its best scale, not rounded.</summary>
    private static double LeastOfAllCodes(float[] values, float[] importance, QuantizationScheme scheme)
    {
        var range = scheme.Codes;
        var zeroPoints = scheme.Symmetric ? [0] : Enumerable.Range(range.Min, range.Steps + 1).ToArray();
        var choices = (int)Math.Pow(range.Steps + 1, values.Length);
        var least = double.PositiveInfinity;
        for (var choice = 0; choice < choices; choice++)
        {
            foreach (var zeroPoint in zeroPoints)
            {
                var (rest, product, square, energy) = (choice, 0d, 0d, 0d);
                for (var i = 0; i < values.Length; i++, rest /= range.Steps + 1)
                {
                    double step = range.Min + (rest % (range.Steps + 1)) - zeroPoint;
                    product += importance[i] * step * values[i];
                    square += importance[i] * step * step;
                    energy += importance[i] * (double)values[i] * values[i];
                }

                least = Math.Min(least, product > 0 ? energy - (product * product / square) : energy);
            }
        }

        return least;
    }
}
