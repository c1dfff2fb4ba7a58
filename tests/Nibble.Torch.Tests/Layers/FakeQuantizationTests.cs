using Nibble.Numerics;
using Nibble.Torch.Layers;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Layers;

public sealed class FakeQuantizationTests
{
    private static readonly float[] Widths = [0, 0, 1e-42f, 1e-38f, 3e-6f, 1e-3f, 1, 1, 17, 250, 3e4f];

    private static readonly Gen<QuantizationScheme> Schemes =
        from bits in Gen.Int[1, 8]
        from symmetric in Gen.Bool
        from precision in Gen.Enum<ScalePrecision>()
        select (bits == 1 ? QuantizationScheme.CreateTernary(Granularity.Tensor)
            : new QuantizationScheme(bits, symmetric, Granularity.Tensor)) with
        { ScalePrecision = precision };

    private static readonly Gen<ValueRange> Ranges =
        from width in Gen.Int[0, Widths.Length - 1]
        from one in Gen.Float[-1, 1]
        from other in Gen.Float[-1, 1]
        select new ValueRange(Math.Min(one, other) * Widths[width], Math.Max(one, other) * Widths[width]);

    private static readonly Gen<float> Values = Gen.Frequency(
        (4, Gen.Float[-300, 300]),
        (2, Gen.Int[-300, 300].Select(steps => steps / 2f)),
        (1, Gen.OneOf(0f, -0f, 1e-42f, -1e-42f, 0.5f, -0.5f, 2.5f, 3e38f, -3e38f, float.PositiveInfinity, float.NegativeInfinity)));

    private static readonly Gen<QuantizationParameters> AnyParameters =
        from scale in Gen.Frequency(
            (2, Gen.Int[-4, 4].Select(exponent => MathF.Pow(2, exponent))), (2, Gen.Float[1e-3f, 10]),
            (1, Gen.OneOf(QuantizationParameters.MinScale(ScalePrecision.Float32), 1e-20f, 1e30f)))
        from zeroPoint in Gen.Int[-128, 127]
        select new QuantizationParameters(scale, zeroPoint);

    [Fact]
    public void ParametersEqualThoseOfTheScalarFormulaBitForBit() =>
        Gen.Select(Schemes, Ranges.Array[1, 20]).Sample((scheme, ranges) =>
        {
            using var scope = NewDisposeScope();
            var (scale, zeroPoint) = FakeQuantization.Parameters(
                tensor(Array.ConvertAll(ranges, range => range.Min)), tensor(Array.ConvertAll(ranges, range => range.Max)), scheme);
            var expected = Array.ConvertAll(ranges, range => QuantizationParameters.FromRange(range, scheme));
            Bits.Equal(expected.Select(parameters => parameters.Scale), scale);
            Assert.Equal(expected.Select(parameters => parameters.ZeroPoint), Bits.Of(zeroPoint).Select(point => (int)point));
        });

    [Fact]
    public void ParametersOfTheWidestRangesEqualThoseOfTheScalarFormula()
    {
        using var scope = NewDisposeScope();
        foreach (var scheme in (QuantizationScheme[])[
            new(2, true, Granularity.Tensor), new(2, false, Granularity.Tensor), new(8, true, Granularity.Tensor), new(8, false, Granularity.Tensor)])
        {
            var expected = QuantizationParameters.FromRange(new ValueRange(float.MinValue, float.MaxValue), scheme);
            var (scale, zeroPoint) = FakeQuantization.Parameters(tensor(float.MinValue), tensor(float.MaxValue), scheme);
            Bits.Equal([expected.Scale], scale);
            Assert.Equal(expected.ZeroPoint, zeroPoint.item<float>());
        }
    }

    [Fact]
    public void RoundScaleEqualsTheScalarFormulaBitForBit() =>
        Gen.Select(Gen.Enum<ScalePrecision>(),
            Gen.Frequency((3, Gen.Double[0, 6e4]), (3, Gen.Double[0, 1e-4]), (1, Gen.OneOf(0d, 1e-300, 1e-45, 1e-38, 2e-38, 2.9e-8, 3e-8, 6e-8)))
            .Array[1, 20]).Sample((precision, scales) =>
            {
                using var scope = NewDisposeScope();
                Bits.Equal(scales.Select(scale => QuantizationParameters.RoundScale(scale, precision)), FakeQuantization.RoundScale(tensor(scales), precision));
            });

    [Fact]
    public void ApplyAndLearnedEqualTheScalarQuantizerBitForBit() =>
        Gen.Select(Schemes, AnyParameters, Values.Array[1, 40]).Sample((scheme, parameters, values) =>
        {
            using var scope = NewDisposeScope();
            var codes = scheme.Codes;
            parameters = parameters with { ZeroPoint = scheme.Symmetric ? 0 : Math.Clamp(parameters.ZeroPoint, codes.Min, codes.Max) };
            var expected = values.Select(value => ScalarQuantizer.FakeQuantize(value, parameters, codes)).ToArray();
            var (x, scale, zeroPoint) = (tensor(values), tensor(parameters.Scale), tensor((float)parameters.ZeroPoint));
            Bits.Equal(expected, FakeQuantization.Apply(x, scale, zeroPoint, codes));
            Bits.Equal(expected, FakeQuantization.Learned(x, scale, zeroPoint, codes));
        });

    [Fact]
    public void ApplyAndLearnedKeepNaNSoThatTrainingNotices()
    {
        using var scope = NewDisposeScope();
        var (x, one, zero) = (tensor(new[] { float.NaN, 1 }), tensor(1f), tensor(0f));
        Assert.Equal([float.NaN, 1], Bits.Of(FakeQuantization.Apply(x, one, zero, new CodeRange(-8, 7))));
        Assert.Equal([float.NaN, 1], Bits.Of(FakeQuantization.Learned(x, one, zero, new CodeRange(-8, 7))));
    }

    [Fact]
    public void ApplyLeavesItsInputsAloneAndGivesNoGradient()
    {
        using var scope = NewDisposeScope();
        float[] values = [0.4f, 0.6f];
        var x = tensor(values).requires_grad_();
        var result = FakeQuantization.Apply(x, tensor(1f), tensor(0f), new CodeRange(-8, 7));
        Assert.False(result.requires_grad);
        Assert.Equal(values, Bits.Of(x));
    }

    [Fact]
    public void StraightThroughHasTheValueOfOneAndTheGradientOfTheOther()
    {
        // 0.1 and 3e-9 are far enough apart that adding their difference would round.
        using var scope = NewDisposeScope();
        var x = tensor(new[] { 3e-9f, -7.3f, 0.1f }).requires_grad_();
        float[] quantized = [0.1f, 0, 3e-9f];
        var y = FakeQuantization.StraightThrough(x, tensor(quantized));
        Bits.Equal(quantized, y);
        (y * arange(3, dtype: float32)).sum().backward();
        Assert.Equal([0, 1, 2], Bits.Of(x.grad!));
    }

    [Fact]
    public void LearnedHasTheGradientsOfLsq()
    {
        // Esser et al. 2020, equation 3: the scale gets round(v) - v inside the code range and the range's end outside, v = x / scale.
        using var scope = NewDisposeScope();
        var x = tensor(new[] { -3f, -0.6f, 0.3f, 0.8f, 5f }).requires_grad_();
        var scale = tensor(0.5f).requires_grad_();
        var y = FakeQuantization.Learned(x, scale, tensor(0f), new CodeRange(-4, 3));
        Assert.Equal([-2f, -0.5f, 0.5f, 1f, 1.5f], Bits.Of(y));
        (y * tensor(new[] { 1f, 2, 3, 4, 5 })).sum().backward();
        Assert.Equal([0f, 2, 3, 4, 0], Bits.Of(x.grad!));
        const double Expected = (1 * -4) + (2 * (-1 + 1.2)) + (3 * (1 - 0.6)) + (4 * (2 - 1.6)) + (5 * 3);
        Assert.Equal(Expected, scale.grad!.item<float>(), 1e-5);
    }

    [Fact]
    public void LearnedPassesTheWholeGradientAtTheEndsOfTheRange()
    {
        using var scope = NewDisposeScope();
        var x = tensor(new[] { -2f, 1.5f }).requires_grad_();
        var scale = tensor(0.5f).requires_grad_();
        FakeQuantization.Learned(x, scale, tensor(0f), new CodeRange(-4, 3)).sum().backward();
        Assert.Equal([1f, 1], Bits.Of(x.grad!));
        Assert.Equal(0f, scale.grad!.item<float>());
    }

    [Fact]
    public void LearnedOutsideTheRangeHasTheSlopeOfItsValue()
    {
        // The value of what is cut off is scale * (end - zeroPoint): smooth in the scale, so finite differences see the true slope.
        using var guard = NewDisposeScope();
        var codes = new CodeRange(-8, 7);
        var x = tensor(new[] { -40f, 33f, 90f }, dtype: float64);
        var weights = tensor(new[] { 1.5, -2, 0.25 }, dtype: float64);
        var zeroPoint = tensor(2d, dtype: float64);
        double At(double value) => (FakeQuantization.Learned(x, tensor(value, dtype: float64), zeroPoint, codes) * weights).sum().item<double>();
        var scale = tensor(0.37, dtype: float64).requires_grad_();
        (FakeQuantization.Learned(x, scale, zeroPoint, codes) * weights).sum().backward();
        Assert.Equal((At(0.37 + 1e-4) - At(0.37 - 1e-4)) / 2e-4, scale.grad!.item<double>(), 1e-6);
        Assert.Equal((1.5 * -10) + (-2 * 5) + (0.25 * 5), scale.grad!.item<double>(), 1e-9);
    }

    [Fact]
    public void LearnedEqualsPyTorchsLearnableFakeQuantizer()
    {
        // Made once with PyTorch 1.13: y = torch._fake_quantize_learnable_per_channel_affine(x, scale, zero_point, axis=0, quant_min=-8,
        // quant_max=7, grad_factor=1); (y * g).sum().backward(); then y, x.grad and scale.grad printed.
        using var scope = NewDisposeScope();
        var x = tensor(new[,] { { -2.3f, -0.71f, -0.26f, 0f, 0.13f, 0.4f, 0.9f, 3.1f },
            { -1.4f, -0.33f, -0.05f, 0.02f, 0.37f, 0.58f, 1.27f, 2.2f } }).requires_grad_();
        var scale = tensor(new[,] { { 0.3f }, { 0.17f } }).requires_grad_();
        var g = tensor(new[,] { { 1f, -2, 3, -4, 5, -6, 7, -8 }, { 0.5f, 1.5f, -2.5f, 3.5f, -4.5f, 5.5f, -6.5f, 7.5f } });
        var y = FakeQuantization.Learned(x, scale, tensor(new[,] { { 1f }, { -2f } }), new CodeRange(-8, 7));
        (y * g).sum().backward();
        Near(
            [
                -2.4000000953674316f, -0.6000000238418579f, -0.30000001192092896f, 0, 0, 0.30000001192092896f, 0.9000000357627869f, 1.8000000715255737f,
                -1.0199999809265137f, -0.3400000035762787f, 0, 0, 0.3400000035762787f, 0.5099999904632568f, 1.190000057220459f, 1.5299999713897705f,
            ],
            y,
            1e-6f);
        Near([1, -2, 3, -4, 5, -6, 7, 0, 0, 1.5f, -2.5f, 3.5f, -4.5f, 5.5f, -6.5f, 0], x.grad!, 1e-6f);
        Near([-49.633331298828125f, 64.85294342041016f], scale.grad!, 2e-5f);
    }

    private static void Near(float[] expected, Tensor actual, float tolerance) =>
        Assert.All(expected.Zip(Bits.Of(actual)), pair => Assert.Equal(pair.First, pair.Second, tolerance));
}
