using Nibble.Algorithms;
using Nibble.Numerics;
using Nibble.Torch.Ptq.Scaling;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Ptq.Scaling;

public sealed class ActivationAwareClippingTests
{
    private static readonly Gen<Granularity> Granularities = Gen
        .OneOf(Gen.Const(Granularity.Tensor), Gen.Const(Granularity.Channel), Gen.Int[1, 9].Select(Granularity.Group));

    [Fact]
    public void ErrorsAreTheLeastOfAllFactorsGroupByGroup()
    {
        var cases =
            from granularity in Granularities
            from bits in Gen.Int[2, 5]
            from symmetric in Gen.Bool
            from rows in Gen.Int[1, 4]
            from columns in Gen.Int[1, 20]
            from seed in Gen.Int[0, 1 << 20]
            select (Scheme: new QuantizationScheme(bits, symmetric, granularity) { ScalePrecision = ScalePrecision.Float16 }, rows, columns, seed);
        cases.Sample(
            item =>
            {
                using var scope = NewDisposeScope();
                using var generator = new Generator((ulong)item.seed);
                var weight = randn([item.rows, item.columns], generator: generator);
                var x = randn([50, item.columns], generator: generator) * randn([item.columns], generator: generator).exp();
                var hessian = x.t().matmul(x);
                var clipped = ActivationAwareClipping.Quantize(weight, hessian, item.Scheme);
                var (values, moments) = (weight.data<float>().ToArray(), hessian.data<float>().ToArray());

                var least = Enumerable.Repeat(double.PositiveInfinity, clipped.Scales.Length).ToArray();
                for (var step = 0; step <= 20; step++)
                {
                    var errors = Errors(Shrunk(values, item.rows, item.columns, item.Scheme, 1 - (step * 0.025)), values, moments);
                    least = [.. least.Zip(errors, Math.Min)];
                }

                Assert.All(least.Zip(Errors(clipped, values, moments)), pair => Assert.Equal(pair.First, pair.Second, (pair.First * 1e-3) + 1e-6));
            },
            iter: 200,
            threads: 1);
    }

    [Fact]
    public void WeightsThatCannotBeQuantizedAreRefused()
    {
        using var scope = NewDisposeScope();
        var scheme = new QuantizationScheme(4, symmetric: true, Granularity.Channel);
        Assert.Contains("row 0, column 1",
            Assert.Throws<NibbleException>(() => ActivationAwareClipping.Quantize(tensor([1, float.NaN], 1, 2), eye(2), scheme)).Message,
            StringComparison.Ordinal);
    }

    /// <summary>Every group's range, the scheme's way, times a factor.</summary>
    private static QuantizedTensor Shrunk(float[] values, int rows, int columns, QuantizationScheme scheme, double factor)
    {
        var shape = RoundToNearest.Quantize(values, rows, columns, scheme);
        var parameters = new QuantizationParameters[shape.Scales.Length];
        for (var group = 0; group < parameters.Length; group++)
        {
            var members = values.Where((_, index) => Group(shape, index / columns, index % columns) == group).ToArray();
            parameters[group] = QuantizationParameters
                .FromRange(new ValueRange((float)(Math.Min(0, members.Min()) * factor), (float)(Math.Max(0, members.Max()) * factor)), scheme);
        }

        return RoundToNearest.QuantizeWith(
            values, rows, columns, scheme, [.. parameters.Select(p => p.Scale)], scheme.Symmetric ? [] : [.. parameters.Select(p => (sbyte)p.ZeroPoint)]);
    }

    private static double[] Errors(QuantizedTensor codes, float[] values, float[] moments)
    {
        var back = codes.Dequantize();
        var errors = new double[codes.Scales.Length];
        for (var row = 0; row < codes.Rows; row++)
        {
            for (var i = 0; i < codes.Columns; i++)
            {
                for (var j = 0; j < codes.Columns; j++)
                {
                    if (i / codes.GroupLength == j / codes.GroupLength)
                    {
                        errors[Group(codes, row, i)] += Difference(row, i) * moments[(i * codes.Columns) + j] * Difference(row, j);
                    }
                }
            }
        }

        return errors;

        double Difference(int row, int column) => (double)back[(row * codes.Columns) + column] - values[(row * codes.Columns) + column];
    }

    private static int Group(QuantizedTensor codes, int row, int column) =>
        codes.Scheme.Granularity is PerTensor ? 0 : (row * codes.GroupsPerRow) + (column / codes.GroupLength);
}
