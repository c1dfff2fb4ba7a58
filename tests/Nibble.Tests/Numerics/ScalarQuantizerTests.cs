using Nibble.Tests.Numerics.Kernels;
using Nibble.Numerics;

namespace Nibble.Tests.Numerics;

public class ScalarQuantizerTests
{
    // Made with PyTorch 1.13.0 on x86-64. PyTorch multiplies by the inverse of the scale; the scales are powers of two, so that this changes nothing.
    private static readonly float[] Values =
    [
        0f, 100f, -100f, 0.375f, 2.546875f, 2.078125f, -0.953125f, -6.34375f, 1.40625f, -0.46875f, 4.328125f, 0.796875f,
        0.5f, 2.625f, -0.4375f, -0.328125f, 2.796875f, 3.78125f, 6.015625f, 0.15625f, 1.859375f, -1.234375f, -2.515625f, -6.953125f,
    ];

    public static TheoryData<float, int, int, float[]> TorchPerTensor { get; } = new()
    {
        {
            // torch.fake_quantize_per_tensor_affine(values, 0.03125, 10, -128, 127)
            0.03125f, 10, 8,
            [
                0f, 3.65625f, -4.3125f, 0.375f, 2.5625f, 2.0625f, -0.9375f, -4.3125f, 1.40625f, -0.46875f, 3.65625f, 0.8125f,
                0.5f, 2.625f, -0.4375f, -0.3125f, 2.8125f, 3.65625f, 3.65625f, 0.15625f, 1.875f, -1.25f, -2.5f, -4.3125f,
            ]
        },
        {
            // torch.fake_quantize_per_tensor_affine(values, 0.5, -3, -8, 7)
            0.5f, -3, 4,
            [
                0f, 5f, -2.5f, 0.5f, 2.5f, 2f, -1f, -2.5f, 1.5f, -0.5f, 4.5f, 1f,
                0.5f, 2.5f, -0.5f, -0.5f, 3f, 4f, 5f, 0f, 2f, -1f, -2.5f, -2.5f,
            ]
        },
        {
            // torch.fake_quantize_per_tensor_affine(values, 1.0, 0, -4, 3)
            1f, 0, 3,
            [
                0f, 3f, -4f, 0f, 3f, 2f, -1f, -4f, 1f, 0f, 3f, 1f,
                0f, 3f, 0f, 0f, 3f, 3f, 3f, 0f, 2f, -1f, -3f, -4f,
            ]
        },
    };

    [Theory]
    [MemberData(nameof(TorchPerTensor))]
    public void FakeQuantizeEqualsPyTorchPerTensor(float scale, int zeroPoint, int bits, float[] expected)
    {
        var scheme = new QuantizationScheme(bits, symmetric: false, Granularity.Tensor);
        Assert.Equal(expected, Values.Select(value => ScalarQuantizer.FakeQuantize(value, new QuantizationParameters(scale, zeroPoint), scheme.Codes)));
    }

    [Fact]
    public void FakeQuantizeEqualsPyTorchPerChannel()
    {
        // torch.fake_quantize_per_channel_affine(values.reshape(3, 8), tensor([0.25, 0.5, 1.0]), tensor([0, 3, -5]), 0, -8, 7)
        float[] expected =
        [
            0f, 1.75f, -2f, 0.5f, 1.75f, 1.75f, -1f, -2f, 1.5f, -0.5f, 2f, 1f,
            0.5f, 2f, -0.5f, -0.5f, 3f, 4f, 6f, 0f, 2f, -1f, -3f, -3f,
        ];
        QuantizationParameters[] channels = [new(0.25f, 0), new(0.5f, 3), new(1f, -5)];
        Assert.Equal(expected, Values.Select((value, i) => ScalarQuantizer.FakeQuantize(value, channels[i / 8], new CodeRange(-8, 7))));
    }

    [Fact]
    public void EveryValueOfTheRangeIsAtMostHalfAStepFromItsCode() =>
        Gen.Select(Gens.Scheme, Gens.Finite, Gens.Finite, Gens.Finite).Sample((scheme, a, b, c) =>
        {
            var range = new ValueRange(Math.Min(a, b), Math.Max(a, b));
            var value = Math.Clamp(c, range.Min, range.Max);
            var parameters = QuantizationParameters.FromRange(range, scheme);
            var error = Math.Abs(value - ScalarQuantizer.FakeQuantize(value, parameters, scheme.Codes));
            // Half a step, plus what 255 steps of a scale rounded to 24 bits can be off.
            Assert.True(error <= parameters.Scale * 0.5001, $"{value} is {error / parameters.Scale} steps off");
        });

    [Fact]
    public void RealZeroIsExactForEveryRange() =>
        Gen.Select(Gens.Scheme, Gens.Finite, Gens.Finite).Sample((scheme, a, b) =>
        {
            var parameters = QuantizationParameters.FromRange(new ValueRange(Math.Min(a, b), Math.Max(a, b)), scheme);
            Assert.Equal(0, BitConverter.SingleToInt32Bits(ScalarQuantizer.FakeQuantize(0f, parameters, scheme.Codes)));
            Assert.InRange(parameters.ZeroPoint, scheme.Codes.Min, scheme.Codes.Max);
        });

    [Fact]
    public void CodesSurviveTheWayToValuesAndBack() =>
        Gen.Select(Gens.Scheme, Gens.Finite, Gens.Finite).Sample((scheme, a, b) =>
        {
            var parameters = QuantizationParameters.FromRange(new ValueRange(Math.Min(a, b), Math.Max(a, b)), scheme);
            for (var code = scheme.Codes.Min; code <= scheme.Codes.Max; code++)
            {
                Assert.Equal(code, ScalarQuantizer.Quantize(ScalarQuantizer.Dequantize((sbyte)code, parameters), parameters, scheme.Codes));
            }
        });

    [Fact]
    public void TernaryCodesOfASymmetricRangeAreItsEndsAndZero()
    {
        var scheme = QuantizationScheme.CreateTernary(Granularity.Tensor);
        var parameters = QuantizationParameters.FromRange(new ValueRange(-2, 2), scheme);
        Assert.Equal(new QuantizationParameters(2, 0), parameters);
        Assert.Equal([-1, -1, 0, 0, 0, 1],
            new[] { -9f, -1.1f, -1f, 0f, 1f, 1.1f }.Select(value => (int)ScalarQuantizer.Quantize(value, parameters, scheme.Codes)));
    }

    [Fact]
    public void NaNIsRealZeroAndTheInfinitiesAreTheEnds()
    {
        var (parameters, codes) = (new QuantizationParameters(0.5f, 3), new CodeRange(-8, 7));
        Assert.Equal(3, ScalarQuantizer.Quantize(float.NaN, parameters, codes));
        Assert.Equal(-8, ScalarQuantizer.Quantize(float.NegativeInfinity, parameters, codes));
        Assert.Equal(7, ScalarQuantizer.Quantize(float.PositiveInfinity, parameters, codes));
    }
}
