using Nibble.Algorithms;
using Nibble.Numerics;
using Nibble.Recipes;
using Solver = Nibble.Algorithms.Gptq;

namespace Nibble.Tests.Algorithms;

public class HessianFactorTests
{
    [Fact]
    public void TimesItsTransposeItIsTheDampedHessian() =>
        Gen.Select(RandomLayer.Any, Gen.Bool).Sample(
            (layer, byActivation) =>
            {
                var factor = HessianFactor.Create(Single(layer.Hessian), layer.Columns, byActivation);
                Assert.Equal(0.01, factor.Dampening);
                Assert.Equal(layer.Dead.Order(), factor.DeadColumns);
                Assert.Equal(layer.Importance, factor.Importance.ToArray());
                Assert.Equal(byActivation ? layer.Order : null, factor.Order);
                AssertFactors(factor, layer.Damped(factor.Order?.ToArray()));
            },
            iter: 60);

    [Theory]
    [InlineData(24)]
    [InlineData(119)]
    [InlineData(120)]
    [InlineData(121)]
    [InlineData(250)]
    public void HasTheSameBitsOnAnyNumberOfThreads(int columns)
    {
        var layer = RandomLayer.Create(1, columns, 1, columns);
        var one = HessianFactor.Create(Single(layer.Hessian), columns, threads: 1);
        AssertFactors(one, layer.Damped(null));
        foreach (var threads in new[] { 2, 5 })
        {
            Assert.Equal(Upper(one), Upper(HessianFactor.Create(Single(layer.Hessian), columns, threads: threads)));
        }
    }

    /// <summary>A matrix of 53,248 columns, those of Llama 405B, is beyond an array and lies in blocks: its factor is that of one array, bit for bit.</summary>
    [Theory]
    [InlineData(1, false)]
    [InlineData(7 * 250, false)]
    [InlineData(7 * 250, true)]
    [InlineData(249 * 250, true)]
    public void HasTheSameBitsInBlocks(long blockElements, bool byActivation)
    {
        const int Columns = 250;
        var layer = RandomLayer.Create(30, Columns, 2, 3);
        var scheme = new QuantizationScheme(4, symmetric: false, Granularity.Group(32));
        var options = new GptqOptions { Order = byActivation ? ActivationOrder.Group : ActivationOrder.None };

        // Without dampening, what is not positive definite is restored and tried again.
        foreach (var dampening in (double[])[0.01, 0])
        {
            var values = Single(layer.Hessian);
            var blocked = new SquareMatrix(Columns, blockElements);
            for (var row = 0; row < Columns; row++)
            {
                if (dampening == 0)
                {
                    values[(row * Columns) + row] *= 0.8f;
                }

                values.AsSpan(row * Columns, Columns).CopyTo(blocked.Row(row));
            }

            Assert.InRange(blocked.BlockCount, 2, Columns);
            var whole = HessianFactor.Create(values, Columns, byActivation, dampening);
            var factor = HessianFactor.Create(blocked, byActivation, dampening);
            Assert.Equal((whole.Dampening, whole.Warning), (factor.Dampening, factor.Warning));
            Assert.Equal(dampening == 0, whole.Warning is not null);
            Assert.Equal(Upper(whole), Upper(factor));
            Assert.Equal(whole.Importance.ToArray(), factor.Importance.ToArray());
            var expected = Solver.Quantize(layer.Weights, 30, Columns, scheme, whole, options, TestContext.Current.CancellationToken);
            var found = Solver.Quantize(layer.Weights, 30, Columns, scheme, factor, options, TestContext.Current.CancellationToken);
            Assert.Equal(expected.Loss, found.Loss);
            Assert.Equal(expected.Weight.Codes, found.Weight.Codes);
            Assert.Equal(expected.Weight.Scales, found.Weight.Scales);
        }
    }

    [Fact]
    public void DampeningIsRaisedUntilTheHessianIsPositiveDefinite()
    {
        // Eigenvalues 2.2 and -0.2.
        var factor = HessianFactor.Create([1, 1.2f, 1.2f, 1], 2);
        Assert.Equal(1, factor.Dampening);
        Assert.Contains("with 0.01 times its mean diagonal added; 1 times was added instead", factor.Warning, StringComparison.Ordinal);
        Assert.Null(HessianFactor.Create([1, 0, 0, 1], 2).Warning);
        AssertFactors(factor, new[,] { { 2, 1.2 }, { 1.2, 2 } });
        Assert.Equal(0.1, HessianFactor.Create([1, 1.05f, 1.05f, 1], 2).Dampening, 1e-12);
        Assert.Equal(1e-4, HessianFactor.Create([1, 1, 1, 1], 2, dampening: 0).Dampening);
    }

    [Fact]
    public void WhatIsNoHessianIsRefused()
    {
        Assert.Contains("not positive definite", Assert.Throws<NibbleException>(() => HessianFactor.Create([1, 3, 3, 1], 2)).Message, StringComparison.Ordinal);
        Assert.Contains("Row 1", Assert.Throws<NibbleException>(() => HessianFactor.Create([1, 0, 0, -1], 2)).Message, StringComparison.Ordinal);
        Assert.Contains("Row 0", Assert.Throws<NibbleException>(() => HessianFactor.Create([1, float.NaN, 0, 1], 2)).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => HessianFactor.Create([1, 0, 0], 2));
        Assert.Throws<ArgumentOutOfRangeException>(() => HessianFactor.Create([1], 1, dampening: double.NaN));
    }

    private static void AssertFactors(HessianFactor factor, double[,] hessian)
    {
        var n = factor.Columns;
        var expected = RandomLayer.UpperFactor(hessian);
        for (var i = 0; i < n; i++)
        {
            for (var j = i; j < n; j++)
            {
                // Rows of R have the length of the diagonal's root.
                Assert.Equal(expected[(i * n) + j], factor.Values[i, j], 1e-4 * Math.Sqrt(hessian[i, i]));
            }
        }
    }

    private static float[] Upper(HessianFactor factor) =>
        [.. from i in Enumerable.Range(0, factor.Columns) from j in Enumerable.Range(i, factor.Columns - i) select factor.Values[i, j]];

    private static float[] Single(double[,] matrix) => [.. matrix.Cast<double>().Select(value => (float)value)];
}
