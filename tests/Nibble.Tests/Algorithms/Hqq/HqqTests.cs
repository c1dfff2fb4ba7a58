using Nibble.Numerics;
using HalfQuadratic = Nibble.Algorithms.Hqq;
using Rtn = Nibble.Algorithms.RoundToNearest;

namespace Nibble.Tests.Algorithms;

public class HqqTests
{
    [Fact]
    public void TheObjectiveOfAGroupIsNeverAboveThatOfMinMax() =>
        Gen.Select(Weights.Matrix, Weights.Scheme).Sample(
            (matrix, scheme) =>
            {
                var (weights, rows, columns) = matrix;
                var (found, minMax) = (HalfQuadratic.Quantize(weights, rows, columns, scheme), Rtn.Quantize(weights, rows, columns, scheme));
                var (values, minMaxValues) = (found.Dequantize(), minMax.Dequantize());
                for (var index = 0; index < weights.Length; index++)
                {
                    var (row, column) = (index / columns, index % columns);
                    var parameters = found.Parameters(row, column / found.GroupLength);
                    Assert.Equal(QuantizationParameters.RoundScale(parameters.Scale, scheme.ScalePrecision), parameters.Scale);
                    Assert.Equal(ScalarQuantizer.Quantize(weights[index], parameters, scheme.Codes), found.Codes[index]);
                    var group = Weights.Members(scheme, rows, columns, row, column).ToArray();
                    if (group[0] == index)
                    {
                        Assert.True(group.Sum(i => Loss(weights[i] - values[i])) <= 1.0001 * group.Sum(i => Loss(weights[i] - minMaxValues[i])));
                    }
                }
            },
            iter: 100);

    [Theory]
    [InlineData(2, false)]
    [InlineData(3, false)]
    [InlineData(4, false)]
    [InlineData(3, true)]
    [InlineData(4, true)]
    public void BothTheObjectiveAndTheSquaredErrorFallOnNormalWeights(int bits, bool symmetric)
    {
        var random = new Random(3);
        var weights = Array.ConvertAll(
            new float[64 * 128], _ => (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble())));
        var scheme = new QuantizationScheme(bits, symmetric, Granularity.Group(32)) { ScalePrecision = ScalePrecision.Float16 };
        var (values, minMax) = (HalfQuadratic.Quantize(weights, 64, 128, scheme).Dequantize(), Rtn.Quantize(weights, 64, 128, scheme).Dequantize());
        Assert.True(Total(values, Loss) < 0.99 * Total(minMax, Loss));
        Assert.True(Total(values, error => error * error) < 0.99 * Total(minMax, error => error * error));

        double Total(float[] found, Func<double, double> loss) => weights.Zip(found, (weight, value) => loss(weight - value)).Sum();
    }

    [Fact]
    public void TheResultDoesNotDependOnTheNumberOfRowsWorkedOnAtOnce()
    {
        var weights = Enumerable.Range(0, 64 * 33).Select(i => MathF.Sin(i * i)).ToArray();
        var scheme = new QuantizationScheme(4, symmetric: false, Granularity.Group(8));
        var together = HalfQuadratic.Quantize(weights, 64, 33, scheme);
        for (var row = 0; row < 64; row++)
        {
            var alone = HalfQuadratic.Quantize(weights.AsSpan(row * 33, 33), 1, 33, scheme);
            Assert.Equal(alone.Codes, together.Codes.AsSpan(row * 33, 33).ToArray());
            Assert.Equal(alone.Scales, together.Scales.AsSpan(row * 5, 5).ToArray());
        }
    }

    [Theory]
    [InlineData(0f)]
    [InlineData(1e-44f)]
    [InlineData(1e-30f)]
    [InlineData(1e38f)]
    public void WeightsOfEverySizeAreTaken(float size)
    {
        foreach (var scheme in (
            QuantizationScheme[])[new(4, false, Granularity.Channel), new(4, true, Granularity.Channel), QuantizationScheme.CreateTernary(Granularity.Channel)])
        {
            var result = HalfQuadratic.Quantize([size, -size, size / 2, 0], 1, 4, scheme);
            Assert.True(float.IsFinite(result.Scales[0]) && result.Scales[0] > 0);
            Assert.Equal(0, result.Dequantize()[3]);
        }
    }

    [Fact]
    public void AWeightThatIsNotFiniteIsNamed()
    {
        var exception = Assert.Throws<NibbleException>(
            () => HalfQuadratic.Quantize([0, 0, 0, float.NaN], 2, 2, new QuantizationScheme(4, true, Granularity.Channel)));
        Assert.Contains("row 1, column 1", exception.Message, StringComparison.Ordinal);
    }

    private static double Loss(double error) => Math.Pow(Math.Abs(error), 0.7);
}
