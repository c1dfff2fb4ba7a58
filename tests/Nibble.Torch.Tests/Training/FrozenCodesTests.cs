using Nibble.Torch.Training;
using Nibble.Algorithms;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Training;

public sealed class FrozenCodesTests
{
    private const int Rows = 3;
    private const int Columns = 20;

    public static TheoryData<QuantizationScheme> Schemes =>
    [
        new QuantizationScheme(2, symmetric: false, Granularity.Group(4)) { ScalePrecision = ScalePrecision.Float16 },
        new QuantizationScheme(3, symmetric: false, Granularity.Group(8)),
        new QuantizationScheme(8, symmetric: false, Granularity.Channel),
        new QuantizationScheme(4, symmetric: true, Granularity.Group(8)),
        new QuantizationScheme(4, symmetric: false, Granularity.Tensor),
        QuantizationScheme.CreateTernary(Granularity.Group(5)),
        QuantizationScheme.CreateStretched(2, Granularity.Group(10)),
        QuantizationScheme.CreateStretched(2, Granularity.Group(8)),
    ];

    [Theory]
    [MemberData(nameof(Schemes))]
    public void ApplyHasTheValuesOfTheCodesAndConvertGivesThemBack(QuantizationScheme scheme)
    {
        using var scope = NewDisposeScope();
        var start = Start(scheme);
        var frozen = new FrozenCodes(start);
        Bits.Equal(start.Dequantize(), frozen.Apply(zeros(Rows, Columns)));
        RequireEqual(start, frozen.Convert(zeros(Rows, Columns)));
    }

    [Fact]
    public void ApplyFollowsTheIndexOfScatteredGroups()
    {
        using var scope = NewDisposeScope();
        var scheme = new QuantizationScheme(4, symmetric: false, Granularity.Group(10));
        var plain = Start(scheme);
        var start = new QuantizedTensor(
            Rows, Columns, scheme, plain.Codes, plain.Scales, plain.ZeroPoints, [.. Enumerable.Range(0, Columns).Select(column => column % 2)]);
        var frozen = new FrozenCodes(start);
        Bits.Equal(start.Dequantize(), frozen.Apply(zeros(Rows, Columns)));
        Assert.Equal(start.GroupIndex, frozen.Convert(zeros(Rows, Columns)).GroupIndex);
    }

    [Theory]
    [MemberData(nameof(Schemes))]
    public void GradientOfAScaleIsTheSumOverItsGroup(QuantizationScheme scheme)
    {
        using var scope = NewDisposeScope();
        var start = Start(scheme);
        var frozen = new FrozenCodes(start);
        var factors = randn(Rows, Columns, generator: new Generator(3));
        (frozen.Apply(zeros(Rows, Columns)) * factors).sum().backward();

        var expected = new double[start.Scales.Length];
        var (values, gradient) = (start.Dequantize(), Bits.Of(factors));
        for (var i = 0; i < values.Length; i++)
        {
            // scale * (code - zeroPoint): the logarithm's gradient is that of the scale, times the scale.
            var group = scheme.Granularity is PerTensor ? 0 : (i / Columns * start.GroupsPerRow) + start.GroupOf(i % Columns);
            expected[group] += gradient[i] * values[i];
        }

        Assert.All(expected.Zip(Bits.Of(frozen.Parameters.Single().grad!)), pair => Assert.Equal(pair.First, pair.Second, 1e-4));
    }

    [Fact]
    public void ConvertHasTheCodesOfTheStartAndTheScalesThatWereLearned()
    {
        using var scope = NewDisposeScope();
        var start = Start(new QuantizationScheme(2, symmetric: false, Granularity.Group(4)) { ScalePrecision = ScalePrecision.Float16 });
        var frozen = new FrozenCodes(start);
        using (no_grad())
        {
            frozen.Parameters.Single().add_(0.1);
        }

        var converted = frozen.Convert(zeros(Rows, Columns));
        Assert.Equal(start.Codes, converted.Codes);
        Assert.Equal(start.ZeroPoints, converted.ZeroPoints);
        Assert.All(start.Scales.Zip(converted.Scales), pair => Assert.Equal(pair.First * MathF.Exp(0.1f), pair.Second, 1e-3f * pair.First));
        Assert.All(converted.Scales, scale => Assert.Equal((float)(Half)scale, scale));
        Bits.Equal(converted.Dequantize(), frozen.Apply(zeros(Rows, Columns)));
    }

    private static QuantizedTensor Start(QuantizationScheme scheme)
    {
        using var scope = NewDisposeScope();
        return RoundToNearest.Quantize(Bits.Of(randn(Rows, Columns, generator: new Generator(1))), Rows, Columns, scheme, WeightRange.Mse);
    }

    private static void RequireEqual(QuantizedTensor expected, QuantizedTensor found)
    {
        Assert.Equal(expected.Codes, found.Codes);
        Bits.Equal(expected.Scales, found.Scales);
        Assert.Equal(expected.ZeroPoints, found.ZeroPoints);
        Assert.Equal(expected.Scheme, found.Scheme);
    }
}
