using Nibble.Torch.Training;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Training;

public class WeightFakeQuantizersTests
{
    private static readonly Gen<QuantizationScheme> Schemes =
        from granularity in Gen.OneOf(Gen.Const(Granularity.Tensor), Gen.Const(Granularity.Channel), Gen.Int[1, 9].Select(Granularity.Group))
        from kind in Gen.Int[0, 3]
        from bits in Gen.Int[2, 8]
        from precision in Gen.Enum<ScalePrecision>()
        let scheme = kind switch
        {
            0 => QuantizationScheme.CreateTernary(granularity),
            1 => QuantizationScheme.CreateStretched(bits, granularity),
            _ => new QuantizationScheme(bits, symmetric: kind == 2, granularity),
        }
        select scheme with { ScalePrecision = precision };

    [Fact]
    public void ConvertGivesTheValuesThatTrainingComputedWith() =>
        Gen.Select(Gen.Enum<GradientEstimator>(), Schemes, Gen.Select(Gen.Int[1, 4], Gen.Int[1, 20]), Gen.Float[-3, 3].Array[80],
            Gen.Float[-0.5f, 0.5f].Array[80]).Sample((estimator, scheme, shape, values, steps) =>
        {
            using var scope = NewDisposeScope();
            var (rows, columns) = shape;
            var weight = tensor(values.AsSpan(0, rows * columns).ToArray(), rows, columns);
            var quantizer = WeightFakeQuantizer.Create(estimator, scheme, weight);
            using (no_grad())
            {
                foreach (var parameter in quantizer.Parameters)
                {
                    parameter.add_(tensor(steps.AsSpan(0, (int)parameter.numel()).ToArray()).view(parameter.shape));
                }
            }

            Bits.Equal(quantizer.Convert(weight).Dequantize(), quantizer.Apply(weight).reshape(-1));
        });

    [Fact]
    public void ScaleGradientIsThatOfLsqTimesItsGradientScale()
    {
        // Esser et al. 2020, section 2.2: g = 1 / sqrt(n * codeMax); equation 3 for the rest. The scale is start * exp(p), so its gradient is multiplied by the
        // scale.
        using var scope = NewDisposeScope();
        var weight = tensor(new[,] { { -3f, -0.6f, 0.3f, 5f } });
        var scheme = new QuantizationScheme(3, symmetric: true, Granularity.Channel);
        var start = new QuantizedTensor(1, 4, scheme, new sbyte[4], [0.5f], []);
        var quantizer = WeightFakeQuantizer.Create(GradientEstimator.LearnedScale, scheme, weight, start);
        (quantizer.Apply(weight) * tensor(new[] { 1f, 2, 3, 4 })).sum().backward();
        var expected = ((1 * -4) + (2 * (-1 + 1.2)) + (3 * (1 - 0.6)) + (4 * 3)) * 0.5 / Math.Sqrt(4 * 3);
        Assert.Equal(expected, quantizer.Parameters.Single().grad!.item<float>(), 1e-5);
    }

    [Fact]
    public void OffsetIsLearnedFromWhatLiesOutsideTheRange()
    {
        // LSQ+ (Bhalgat et al. 2020): the value of a clipped weight is scale * (end - zeroPoint), so its slope in the zero point is -scale; inside there is
        // none.
        using var scope = NewDisposeScope();
        var weight = tensor(new[,] { { -3f, -0.6f, 0.3f, 5f } });
        var scheme = new QuantizationScheme(3, symmetric: false, Granularity.Channel);
        var start = new QuantizedTensor(1, 4, scheme, new sbyte[4], [0.5f], [1]);
        var quantizer = WeightFakeQuantizer.Create(GradientEstimator.LearnedScaleAndOffset, scheme, weight, start);
        (quantizer.Apply(weight) * tensor(new[] { 1f, 2, 3, 7 })).sum().backward();
        Assert.Equal(-0.5 * (1 + 7) / Math.Sqrt(4 * 3), quantizer.Parameters.Last().grad!.item<float>(), 1e-5);
    }

    [Fact]
    public void TernaryStraightThroughTakesTheMeanMagnitude()
    {
        // BitNet b1.58 (Ma et al. 2024, equations 1 to 3): gamma = mean |w|, clamp(round(w / gamma), -1, 1). Groups of 3 in rows of 4: the last has one value.
        using var scope = NewDisposeScope();
        var weight = tensor(new[,] { { 0.2f, -1f, 1.8f, 0.25f } });
        var quantizer = WeightFakeQuantizer.Create(GradientEstimator.StraightThrough, QuantizationScheme.CreateTernary(Granularity.Group(3)), weight);
        var quantized = quantizer.Convert(weight);
        Assert.Equal([1f, 0.25f], quantized.Scales);
        Assert.Equal<sbyte>([0, -1, 1, 1], quantized.Codes);
    }

    [Fact]
    public void StretchedHasNoZeroAndEvenlySpacedValues()
    {
        // ParetoQ (Liu et al. 2025, section 4.2): at 2 bits the values are -1.5, -0.5, 0.5 and 1.5 scales.
        using var scope = NewDisposeScope();
        var scheme = QuantizationScheme.CreateStretched(2, Granularity.Channel);
        var weight = tensor(new[,] { { -9f, -0.9f, 0.1f, 1.1f } });
        var start = new QuantizedTensor(1, 4, scheme, new sbyte[4], [1f], []);
        var quantizer = WeightFakeQuantizer.Create(GradientEstimator.LearnedScale, scheme, weight, start);
        Assert.Equal([-1.5f, -0.5f, 0.5f, 1.5f], Bits.Of(quantizer.Apply(weight).reshape(-1)));
    }

    [Fact]
    public void DampeningDrawsWeightsTowardsTheirValueAndLeavesClippedOnesAlone()
    {
        // Nagel et al. 2022, equation 6: || q(w) - clip(w) ||^2, whose gradient is 2 (clip(w) - q(w)) inside the range.
        using var scope = NewDisposeScope();
        var weight = tensor(new[,] { { -3f, -0.6f, 0.3f, 5f } }).requires_grad_();
        var scheme = new QuantizationScheme(3, symmetric: true, Granularity.Channel);
        var start = new QuantizedTensor(1, 4, scheme, new sbyte[4], [0.5f], []);
        var quantizer = WeightFakeQuantizer.Create(GradientEstimator.LearnedScale, scheme, weight, start);
        var penalty = quantizer.Dampening(weight);
        Assert.Equal((0.1 * 0.1) + (0.2 * 0.2), penalty.item<float>(), 1e-6);
        penalty.backward();
        Assert.Equal([0, -0.2f, -0.4f, 0], Array.ConvertAll(Bits.Of(weight.grad!.reshape(-1)), value => MathF.Round(value, 5)));
        Assert.All(quantizer.Parameters, parameter => Assert.True(parameter.grad is null || parameter.grad.item<float>() == 0));
    }

    [Fact]
    public void ChangeSchemeStartsAnewFromTheWeightAsItStands()
    {
        using var scope = NewDisposeScope();
        var weight = rand(3, 16);
        var wide = new QuantizationScheme(8, symmetric: false, Granularity.Group(8));
        var narrow = new QuantizationScheme(2, symmetric: false, Granularity.Group(8));
        var quantizer = WeightFakeQuantizer.Create(GradientEstimator.LearnedScale, wide, weight);
        quantizer.ChangeScheme(narrow, weight);
        Bits.Equal(WeightFakeQuantizer.Create(GradientEstimator.LearnedScale, narrow, weight).Apply(weight).data<float>().ToArray(), quantizer.Apply(weight));
    }
}
