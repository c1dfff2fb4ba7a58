using Nibble.Numerics;
using Nibble.Recipes;
using Rtn = Nibble.Algorithms.RoundToNearest;

namespace Nibble.Tests.Algorithms;

public class RoundToNearestTests
{
    [Fact]
    public void EqualsALoopOverEachWeight() =>
        Gen.Select(Weights.Matrix, Weights.Scheme, Gen.OneOf(Gen.Const(WeightRange.MinMax), Gen.Const(WeightRange.Mse))).Sample(
            (matrix, scheme, range) =>
            {
                var (weights, rows, columns) = matrix;
                var result = Rtn.Quantize(weights, rows, columns, scheme, range);
                for (var row = 0; row < rows; row++)
                {
                    for (var column = 0; column < columns; column++)
                    {
                        var index = (row * columns) + column;
                        var parameters = result.Parameters(row, column / result.GroupLength);
                        var group = Weights.Members(scheme, rows, columns, row, column).ToArray();
                        if (group[0] == index)
                        {
                            AssertChosen(parameters, Array.ConvertAll(group, i => weights[i]), scheme, range);
                        }

                        Assert.Equal(ScalarQuantizer.Quantize(weights[index], parameters, scheme.Codes), result.Codes[index]);
                    }
                }
            },
            iter: 60);

    [Fact]
    public void DequantizedWeightsAreAtMostHalfAStepOff() =>
        Gen.Select(Weights.Matrix, Weights.Scheme).Sample(
            (matrix, scheme) =>
            {
                var (weights, rows, columns) = matrix;
                var exact = scheme with { ScalePrecision = ScalePrecision.Float32 };
                var result = Rtn.Quantize(weights, rows, columns, exact);
                var values = result.Dequantize();
                for (var i = 0; i < weights.Length; i++)
                {
                    var step = result.Parameters(i / columns, i % columns / result.GroupLength).Scale;
                    Assert.True(Math.Abs(values[i] - weights[i]) <= 0.5001 * step);
                }
            },
            iter: 200);

    [Fact]
    public void MseLeavesOutAnOutlierThatMinMaxCovers()
    {
        var weights = Enumerable.Range(0, 256).Select(i => MathF.Sin(i)).Append(2f).ToArray();
        var scheme = new QuantizationScheme(3, symmetric: true, Granularity.Channel);
        var (full, shrunk) = (Rtn.Quantize(weights, 1, 257, scheme), Rtn.Quantize(weights, 1, 257, scheme, WeightRange.Mse));
        Assert.True(shrunk.Scales[0] < full.Scales[0]);
        Assert.True(SquaredError(weights, shrunk) < SquaredError(weights, full));
    }

    [Fact]
    public void MseKeepsTheWidestOfEquallyGoodRanges()
    {
        var scheme = new QuantizationScheme(8, symmetric: true, Granularity.Channel);
        Assert.Equal(1, Rtn.Quantize(new float[5], 1, 5, scheme, WeightRange.Mse).Scales[0]);
    }

    [Fact]
    public void TheResultDoesNotDependOnTheNumberOfRowsWorkedOnAtOnce()
    {
        var weights = Enumerable.Range(0, 64 * 33).Select(i => MathF.Sin(i * i)).ToArray();
        var scheme = new QuantizationScheme(4, symmetric: false, Granularity.Group(8));
        var together = Rtn.Quantize(weights, 64, 33, scheme, WeightRange.Mse);
        for (var row = 0; row < 64; row++)
        {
            var alone = Rtn.Quantize(weights.AsSpan(row * 33, 33), 1, 33, scheme, WeightRange.Mse);
            Assert.Equal(alone.Codes, together.Codes.AsSpan(row * 33, 33).ToArray());
            Assert.Equal(alone.Scales, together.Scales.AsSpan(row * 5, 5).ToArray());
        }
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.NegativeInfinity)]
    public void AWeightThatIsNotFiniteIsNamed(float bad)
    {
        var weights = new float[12];
        weights[7] = weights[10] = bad;
        var exception = Assert.Throws<NibbleException>(() => Rtn.Quantize(weights, 3, 4, new QuantizationScheme(4, true, Granularity.Channel)));
        Assert.Contains("row 1, column 3", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void PerTokenIsRefused() =>
        Assert.Throws<NibbleException>(() => Rtn.Quantize(new float[4], 2, 2, new QuantizationScheme(8, true, Granularity.Token)));

    [Fact]
    public void AScaleThatBinary16CannotHoldIsRefusedWithItsPlace()
    {
        var scheme = new QuantizationScheme(4, symmetric: false, Granularity.Group(2)) { ScalePrecision = ScalePrecision.Float16 };
        var exception = Assert.Throws<NibbleException>(() => Rtn.Quantize([0, 1, 0, 1e7f], 2, 2, scheme));
        Assert.Contains("Row 1", exception.Message, StringComparison.Ordinal);
        // Each row alone would fit: only the range of both does not.
        var tensor = new QuantizationScheme(4, symmetric: false, Granularity.Tensor) { ScalePrecision = ScalePrecision.Float16 };
        Assert.Throws<NibbleException>(() => Rtn.Quantize([0, 8e5f, 0, -8e5f], 2, 2, tensor));
    }

    [Fact]
    public void WrongLengthsAreRefused() =>
        Assert.Throws<ArgumentException>(() => Rtn.Quantize(new float[5], 2, 3, new QuantizationScheme(8, true, Granularity.Tensor)));

    private static void AssertChosen(QuantizationParameters found, float[] group, QuantizationScheme scheme, WeightRange range)
    {
        var (min, max) = (group.Min(), group.Max());
        var candidates = Enumerable.Range(0, range == WeightRange.Mse ? 71 : 1)
            .Select(step => 1 - (step * 0.01))
            .Select(factor => QuantizationParameters.FromRange(new ValueRange((float)(min * factor), (float)(max * factor)), scheme))
            .ToArray();
        Assert.Contains(found, candidates);
        // Sums in another order may rank two ranges differently that are equally good.
        Assert.True(Error(found) <= candidates.Min(Error) * (1 + 1e-12), $"{found} has more error than needed");

        double Error(QuantizationParameters parameters) =>
            group.Sum(value => Math.Pow(value - ScalarQuantizer.FakeQuantize(value, parameters, scheme.Codes), 2));
    }

    private static double SquaredError(float[] weights, QuantizedTensor tensor) => weights.Zip(tensor.Dequantize(), (a, b) => Math.Pow(a - b, 2)).Sum();
}
