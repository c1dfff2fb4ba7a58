using Nibble.Tests.Numerics.Kernels;
using Nibble.Algorithms;
using Nibble.Numerics;
using Nibble.Recipes;
using Rtn = Nibble.Algorithms.RoundToNearest;
using Solver = Nibble.Algorithms.Gptq;

namespace Nibble.Tests.Algorithms;

public class GptqTests
{
    private static readonly Gen<QuantizationScheme> Schemes =
        from scheme in Gens.Scheme
        from granularity in Gen.Frequency(
            (1, Gen.Const(Granularity.Tensor)), (1, Gen.Const(Granularity.Channel)), (4, Gen.Int[1, 60].Select(Granularity.Group)))
        from precision in Gen.Enum<ScalePrecision>()
        let placed = scheme.Format == CodeFormat.Ternary
            ? QuantizationScheme.CreateTernary(granularity)
            : new QuantizationScheme(scheme.Bits, scheme.Symmetric, granularity)
        select placed with { ScalePrecision = precision };

    private static readonly Gen<GptqOptions> Options = OptionsWith(Gen.Enum<WeightRange>());

    private static Gen<GptqOptions> OptionsWith(Gen<WeightRange> ranges) =>
        from range in ranges
        from order in Gen.Enum<ActivationOrder>()
        from importance in Gen.Bool
        select new GptqOptions { Range = range, Order = order, WeighByImportance = importance };

    /// <summary>
    /// A row is compared where binary64 decides by more than binary32's rounding errors, which are about 1e-6 of a weight. Symmetric ranges put their
    /// largest weight exactly between two codes, so that some rows of every layer are undecided.
    /// </summary>
    [Fact]
    public void EqualsThePapersEquationsCodeForCode()
    {
        var (decided, all) = (0, 0);
        Gen.Select(RandomLayer.Any, Schemes, OptionsWith(Gen.OneOf(Gen.Const(WeightRange.MinMax), Gen.Const(WeightRange.Mse)))).Sample(
            (layer, scheme, options) =>
            {
                var expected = PaperGptq.Quantize(layer, scheme, options.Order, options.Range, options.WeighByImportance);
                var found = Quantize(layer.Weights, layer.Rows, layer.Columns, scheme, Factor(layer, options), options);
                int[] rows = [.. Enumerable.Range(0, layer.Rows).Where(row => expected.Margins[row] > 1e-5 * (1 << scheme.Bits))];
                foreach (var row in rows)
                {
                    Assert.Equal(expected.Codes.AsSpan(row * layer.Columns, layer.Columns), found.Weight.Codes.AsSpan(row * layer.Columns, layer.Columns));
                }

                if (rows.Length == layer.Rows)
                {
                    // In groups of one column the loss is nothing but rounding errors.
                    Assert.Equal(expected.Loss, found.Loss, (1e-4 * expected.Loss) + (1e-12 * layer.Weights.Length));
                    Assert.All(expected.Parameters.Zip(found.Weight.Scales), pair => Assert.Equal(pair.First.Scale, pair.Second, 2e-3 * pair.First.Scale));
                }

                Interlocked.Add(ref decided, rows.Length);
                Interlocked.Add(ref all, layer.Rows);
            },
            iter: 60);
        Assert.True(decided > 0.6 * all, $"only {decided} of {all} rows could be compared");
    }

    [Fact]
    public void WithUncorrelatedInputsItIsRoundToNearest() =>
        Gen.Select(RandomLayer.Any, Schemes, Options).Sample(
            (layer, scheme, options) =>
            {
                var identity = new float[layer.Columns * layer.Columns];
                for (var i = 0; i < layer.Columns; i++)
                {
                    identity[i * (layer.Columns + 1)] = 1;
                }

                var order = options.Order == ActivationOrder.Weight ? layer.Order : null;
                var placed = options with { Order = order is null ? ActivationOrder.None : ActivationOrder.Weight };
                var factor = new HessianFactor(layer.Columns, identity, order, importance: [.. Enumerable.Repeat(1f, layer.Columns)]);
                var found = Quantize(layer.Weights, layer.Rows, layer.Columns, scheme, factor, placed).Weight;
                var expected = Rtn.Quantize(layer.Weights, layer.Rows, layer.Columns, scheme, options.Range);
                if (options.Range != WeightRange.MinMax && options.WeighByImportance)
                {
                    // Sums in another order may rank two ranges differently that are equally good.
                    Assert.Equal(SquaredError(layer, expected), SquaredError(layer, found), 1e-12 * SquaredError(layer, expected));
                    return;
                }

                Assert.Equal(expected.Scales, found.Scales);
                Assert.Equal(expected.ZeroPoints, found.ZeroPoints);
                Assert.Equal(expected.Codes, found.Codes);
                Assert.Null(found.GroupIndex);
            },
            iter: 60);

    [Fact]
    public void LosesLessThanRoundToNearestUnderTheHessian()
    {
        var better = 0;
        var (sum, sumNearest) = (0d, 0d);
        for (var seed = 0; seed < 12; seed++)
        {
            var layer = RandomLayer.Create(20, 96, seed % 3, seed);
            var scheme = new QuantizationScheme(3, seed % 2 == 0, Granularity.Group(32));
            var options = new GptqOptions { Order = (ActivationOrder)(seed % 3) };
            var found = Quantize(layer.Weights, 20, 96, scheme, Factor(layer, options), options);
            var hessian = layer.Damped(null);
            var loss = layer.Loss(found.Weight.Dequantize(), hessian);
            Assert.Equal(loss, found.Loss, 1e-4 * loss);
            var nearest = layer.Loss(Rtn.Quantize(layer.Weights, 20, 96, scheme).Dequantize(), hessian);
            better += loss < nearest ? 1 : 0;
            (sum, sumNearest) = (sum + (loss / nearest), sumNearest + 1);
        }

        Assert.Equal(12, better);
        Assert.True(sum < 0.6 * sumNearest, $"mean ratio {sum / sumNearest}");
    }

    [Fact]
    public void TheResultDoesNotDependOnTheNumberOfThreads()
    {
        var layer = RandomLayer.Create(300, 70, 2, 5);
        var scheme = new QuantizationScheme(4, symmetric: false, Granularity.Group(16)) { ScalePrecision = ScalePrecision.Float16 };
        var options = new GptqOptions { Order = ActivationOrder.Group, Range = WeightRange.Mse, WeighByImportance = true };
        var factor = Factor(layer, options);
        var one = Quantize(layer.Weights, 300, 70, scheme, factor, options with { Threads = 1 });
        foreach (var threads in new[] { 2, 3, 16, int.MaxValue })
        {
            var several = Quantize(layer.Weights, 300, 70, scheme, factor, options with { Threads = threads });
            Assert.Equal(one.Weight.Codes, several.Weight.Codes);
            Assert.Equal(one.Weight.Scales, several.Weight.Scales);
            Assert.Equal(one.Weight.ZeroPoints, several.Weight.ZeroPoints);
            Assert.Equal(one.Weight.GroupIndex, several.Weight.GroupIndex);
            Assert.Equal(one.Loss, several.Loss);
        }

        for (var row = 0; row < 300; row += 37)
        {
            var alone = Quantize(layer.Weights.AsSpan(row * 70, 70), 1, 70, scheme, factor, options);
            Assert.Equal(alone.Weight.Codes, one.Weight.Codes.AsSpan(row * 70, 70).ToArray());
        }
    }

    [Fact]
    public void GroupsFollowTheOrderOfQuantization()
    {
        var layer = RandomLayer.Create(4, 21, 0, 8);
        var order = layer.Order;
        var scheme = new QuantizationScheme(4, symmetric: true, Granularity.Group(8));
        var group = Quantize(layer.Weights, 4, 21, scheme, layer.Factor(order), new GptqOptions { Order = ActivationOrder.Group }).Weight;
        Assert.Equal(Enumerable.Range(0, 21).Select(position => position / 8), order.Select(column => group.GroupIndex![column]));
        Assert.Null(Quantize(layer.Weights, 4, 21, scheme, layer.Factor(order), new GptqOptions { Order = ActivationOrder.Weight }).Weight.GroupIndex);
        var channel = new QuantizationScheme(4, symmetric: true, Granularity.Channel);
        Assert.Null(Quantize(layer.Weights, 4, 21, channel, layer.Factor(order), new GptqOptions { Order = ActivationOrder.Group }).Weight.GroupIndex);
    }

    [Theory]
    [InlineData(150)] // groups larger than a block
    [InlineData(128)]
    [InlineData(100)]
    [InlineData(7)]
    public void LongRowsAreQuantizedInBlocks(int groupSize)
    {
        var layer = RandomLayer.Create(2, 330, 1, groupSize);
        var scheme = new QuantizationScheme(4, symmetric: false, Granularity.Group(groupSize));
        var expected = PaperGptq.Quantize(layer, scheme, ActivationOrder.None, WeightRange.MinMax, byImportance: false);
        Assert.All(expected.Margins, margin => Assert.True(margin > 1e-5, $"choose another layer: {margin}"));
        Assert.Equal(expected.Codes, Quantize(layer.Weights, 2, 330, scheme, layer.Factor(null)).Weight.Codes);
    }

    [Fact]
    public void WhatDoesNotFitIsRefused()
    {
        var scheme = new QuantizationScheme(4, symmetric: true, Granularity.Group(2));
        var factor = new HessianFactor(2, [1, 0, 0, 1]);
        var ordered = new HessianFactor(2, [1, 0, 0, 1], [1, 0]);
        Assert.Throws<ArgumentException>(() => Quantize(new float[6], 2, 3, scheme, factor));
        Assert.Throws<ArgumentException>(() => Quantize(new float[4], 2, 2, scheme, factor, new GptqOptions { Order = ActivationOrder.Group }));
        Assert.Throws<ArgumentException>(() => Quantize(new float[4], 2, 2, scheme, ordered));
        Assert.Throws<ArgumentException>(() => Quantize(new float[4], 2, 2, scheme, factor, new GptqOptions { WeighByImportance = true }));
        Assert.Throws<ArgumentException>(() => new HessianFactor(2, [1, 0, 0, 1], [1, 1]));
        Assert.Throws<ArgumentException>(() => new HessianFactor(2, [1, 0, 0, 1], deadColumns: [2]));
        Assert.Throws<ArgumentException>(() => new HessianFactor(2, [1, 0, 0]));
        Assert.Throws<ArgumentException>(() => new HessianFactor(2, [1, 0, 0, 1], importance: [1]));
        Assert.Contains("Row 1", Assert.Throws<NibbleException>(() => new HessianFactor(2, [1, 0, 0, 0])).Message, StringComparison.Ordinal);
        Assert.Contains("Row 0", Assert.Throws<NibbleException>(() => new HessianFactor(2, [1, float.NaN, 0, 1])).Message, StringComparison.Ordinal);
        Assert.Contains("row 1, column 0", Assert.Throws<NibbleException>(() => Quantize([0, 0, float.NaN, 0], 2, 2, scheme, factor)).Message,
            StringComparison.Ordinal);
        Assert.Throws<NibbleException>(() => Quantize(new float[4], 2, 2, new QuantizationScheme(4, true, Granularity.Token), factor));
    }

    [Fact]
    public void ErrorsThatGrowBeyondAllBoundsAreRefused()
    {
        float[] factor = [1e-3f, 1e30f, 0, 0, 1e-30f, 1e30f, 0, 0, 1e-30f];
        var grouped = new QuantizationScheme(2, symmetric: true, Granularity.Group(1));
        Assert.Contains("without bound",
            Assert.Throws<NibbleException>(
            () => Quantize([1, 0.3f, 1], 1, 3, new QuantizationScheme(2, symmetric: true, Granularity.Channel), new HessianFactor(3, factor))).Message,
            StringComparison.Ordinal);
        Assert.Contains("without bound", Assert.Throws<NibbleException>(() => Quantize([1, 0.3f, 1], 1, 3, grouped, new HessianFactor(3, factor))).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void AScaleThatBinary16CannotHoldIsRefusedWithItsRow()
    {
        // Row 1 fits at first; the error of its first column makes the second too large.
        var scheme = new QuantizationScheme(2, symmetric: true, Granularity.Group(1)) { ScalePrecision = ScalePrecision.Float16 };
        var exception = Assert.Throws<NibbleException>(() => Quantize([0, 0, 1, 1], 2, 2, scheme, new HessianFactor(2, [1, 1e12f, 0, 1])));
        Assert.Contains("Row 1", exception.Message, StringComparison.Ordinal);
        Assert.Contains("Float16", exception.Message, StringComparison.Ordinal);
    }

    private static GptqResult Quantize(
        ReadOnlySpan<float> weights, int rows, int columns, QuantizationScheme scheme, HessianFactor factor, GptqOptions? options = null) =>
        Solver.Quantize(weights, rows, columns, scheme, factor, options, TestContext.Current.CancellationToken);

    private static HessianFactor Factor(RandomLayer layer, GptqOptions options) => layer.Factor(options.Order == ActivationOrder.None ? null : layer.Order);

    private static double SquaredError(RandomLayer layer, QuantizedTensor tensor) => layer.Weights.Zip(tensor.Dequantize(), (a, b) => Math.Pow(a - b, 2)).Sum();
}
