using Nibble.Algorithms;
using Nibble.Numerics;
using Iw = Nibble.Algorithms.ImportanceWeighted;

namespace Nibble.Tests.Algorithms;

public class ImportanceWeightedTests
{
    [Fact]
    public void EqualsASearchForEachGroup() =>
        Gen.Select(Weights.Matrix, Weights.Scheme, Gen.Float[0, 10].Array[70]).Sample(
            (matrix, scheme, importances) =>
            {
                var (weights, rows, columns) = matrix;
                var importance = importances[..columns];
                var result = Iw.Quantize(weights, rows, columns, scheme, importance);
                for (var index = 0; index < weights.Length; index++)
                {
                    var (row, column) = (index / columns, index % columns);
                    var parameters = result.Parameters(row, column / result.GroupLength);
                    var group = Weights.Members(scheme, rows, columns, row, column).ToArray();
                    if (group[0] == index)
                    {
                        var expected = ParameterSearch.Search(
                            Array.ConvertAll(group, i => weights[i]), Array.ConvertAll(group, i => importance[i % columns]), scheme);
                        Assert.Equal(expected, parameters);
                    }

                    Assert.Equal(ScalarQuantizer.Quantize(weights[index], parameters, scheme.Codes), result.Codes[index]);
                }
            },
            iter: 60);

    [Fact]
    public void TheResultDoesNotDependOnTheNumberOfRowsWorkedOnAtOnce()
    {
        var weights = Enumerable.Range(0, 64 * 33).Select(i => MathF.Sin(i * i)).ToArray();
        var importance = Enumerable.Range(0, 33).Select(i => 1 + MathF.Cos(i)).ToArray();
        var scheme = new QuantizationScheme(4, symmetric: false, Granularity.Group(8));
        var together = Iw.Quantize(weights, 64, 33, scheme, importance);
        for (var row = 0; row < 64; row++)
        {
            var alone = Iw.Quantize(weights.AsSpan(row * 33, 33), 1, 33, scheme, importance);
            Assert.Equal(alone.Codes, together.Codes.AsSpan(row * 33, 33).ToArray());
            Assert.Equal(alone.Scales, together.Scales.AsSpan(row * 5, 5).ToArray());
        }
    }

    [Fact]
    public void AnImportantColumnGetsLessErrorThanAnUnimportantOne()
    {
        var weights = Enumerable.Range(0, 64 * 32).Select(i => MathF.Sin(i * i)).ToArray();
        var importance = new float[32];
        Array.Fill(importance, 1f);
        importance[5] = 1000;
        var values = Iw.Quantize(weights, 64, 32, new QuantizationScheme(3, symmetric: false, Granularity.Group(32)), importance).Dequantize();
        var errors = Enumerable.Range(
            0, 32).Select(column => Enumerable.Range(0, 64).Sum(row => Math.Pow(values[(row * 32) + column] - weights[(row * 32) + column], 2))).ToArray();
        Assert.True(errors[5] < 0.2 * errors.Average());
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    [InlineData(-1f)]
    public void AnImportanceThatIsNoMeanSquareIsNamed(float bad)
    {
        var exception = Assert.Throws<NibbleException>(
            () => Iw.Quantize(new float[6], 2, 3, new QuantizationScheme(4, true, Granularity.Channel), [1, 0, bad]));
        Assert.Contains("column 2", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void WrongLengthsAreRefused()
    {
        var scheme = new QuantizationScheme(4, true, Granularity.Channel);
        Assert.Throws<ArgumentException>(() => Iw.Quantize(new float[6], 2, 3, scheme, [1, 1]));
        Assert.Throws<ArgumentException>(() => Iw.Quantize(new float[5], 2, 3, scheme, [1, 1, 1]));
    }

    [Fact]
    public void AWeightThatIsNotFiniteIsNamed()
    {
        var exception = Assert.Throws<NibbleException>(
            () => Iw.Quantize([0, 0, 0, float.NaN], 2, 2, new QuantizationScheme(4, true, Granularity.Channel), [1, 1]));
        Assert.Contains("row 1, column 1", exception.Message, StringComparison.Ordinal);
    }
}
