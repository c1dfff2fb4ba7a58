using Nibble.Algorithms;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Ptq.Learned;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Ptq.Learned;

public sealed class LearnedWeightTests
{
    private static readonly Gen<RoundingLearning> Variants = Gen.OneOf(Gen.Const(RoundingLearning.SignRound), Gen.Const(RoundingLearning.AdaRound));

    private static readonly Gen<QuantizationScheme> Schemes = Gen.OneOf(
        Gen.Const(QuantizationScheme.CreateTernary(Granularity.Group(5))),
        Gen.Select(
            Gen.Int[2, 8],
            Gen.Bool,
            Gen.OneOf(Gen.Const(Granularity.Tensor), Gen.Const(Granularity.Channel), Gen.Int[1, 12].Select(Granularity.Group)),
            Gen.OneOf(Gen.Const(ScalePrecision.Float16), Gen.Const(ScalePrecision.Float32)),
            (bits, symmetric, granularity, precision) => new QuantizationScheme(bits, symmetric, granularity) { ScalePrecision = precision }));

    [Fact]
    public void ConvertBeforeLearningGivesTheStart() =>
        Gen.Select(Variants, Schemes, Gen.Int[1, 4], Gen.Int[1, 20], Gen.Int).Sample((variant, scheme, rows, columns, seed) =>
        {
            using var scope = NewDisposeScope();
            var random = new Random(seed);
            var weight = Normal(random, rows * columns);

            // Not the nearest codes of this weight, as GPTQ's are not either.
            var start = RoundToNearest.Quantize(Normal(random, rows * columns), rows, columns, scheme, WeightRange.Mse);
            using var learned = LearnedWeight.Create(variant, tensor(weight, rows, columns), start);
            Equal(start, learned.Convert());
        });

    [Fact]
    public void ConvertGivesWhatTheLayerComputedWithAtMostOneCodeFromTheStart() =>
        Gen.Select(Schemes, Gen.Int[1, 4], Gen.Int[1, 20], Gen.Int).Sample((scheme, rows, columns, seed) =>
        {
            using var scope = NewDisposeScope();
            using var guard = no_grad();
            var random = new Random(seed);
            var weight = tensor(Normal(random, rows * columns), rows, columns);
            var start = RoundToNearest.Quantize(Normal(random, rows * columns), rows, columns, scheme);
            using var learned = new SignRoundWeight(weight, start);
            learned.Rounding.add_(tensor(Normal(random, rows * columns), rows, columns));
            learned.Logarithm.add_(0.1 * tensor(Normal(random, start.Scales.Length)).view(learned.Logarithm.shape));
            learned.Constrain();

            var result = learned.Convert();
            Bits.Equal(result.Dequantize().Select(Unsigned), learned.Apply(weight).abs());
            Assert.All(result.Codes.Zip(start.Codes),
                codes => Assert.InRange(codes.First, Math.Max(codes.Second - 1, scheme.Codes.Min), Math.Min(codes.Second + 1, scheme.Codes.Max)));
            Assert.All(result.Scales, scale => Assert.Equal(scale, QuantizationParameters.RoundScale(scale, scheme.ScalePrecision)));
            Assert.Equal(start.ZeroPoints, result.ZeroPoints);

            // Minus zero, which a step rounded up to zero leaves, is not in a dequantized weight.
            static float Unsigned(float value) => Math.Abs(value);
        });

    [Fact]
    public void ConvertKeepsTheGroupsOfScatteredColumns()
    {
        using var scope = NewDisposeScope();
        var scheme = new QuantizationScheme(4, symmetric: false, Granularity.Group(2));
        var start = new QuantizedTensor(1, 4, scheme, [1, 2, 3, -4], [0.5f, 2], [0, 1], [1, 0, 1, 0]);
        using var learned = new SignRoundWeight(tensor(start.Dequantize(), 1, 4), start);
        using (no_grad())
        {
            learned.Logarithm.copy_(tensor(new[] { 0, (float)Math.Log(2) }, 1, 2));
        }

        var result = learned.Convert();
        Assert.Equal([1, 0, 1, 0], result.GroupIndex!);
        Assert.Equal([0.5f, 4], result.Scales);
        Assert.Equal([0, 1, 8, -2], result.Dequantize());
        Assert.Equal([0, 1, 8, -2], Bits.Of(learned.Apply(tensor(0))));
    }

    [Fact]
    public void SignRoundFollowsTheGradientOfThePositionAndOfTheScale()
    {
        using var scope = NewDisposeScope();
        var scheme = new QuantizationScheme(3, symmetric: true, Granularity.Group(2));
        var start = new QuantizedTensor(1, 4, scheme, [1, -4, 3, 0], [0.5f, 2], []);
        using var learned = new SignRoundWeight(tensor(new[] { 0.6f, -9, 6.4f, 0.2f }, 1, 4), start);

        // Positions: within the margin of the codes, within the codes.
        Assert.Equal([1.2f, -4, 3, 0.1f], Bits.Of(learned.Rounding));
        (learned.Apply(tensor(0)) * tensor(new float[] { 1, 10, 100, 1000 }, 1, 4)).sum().backward();
        Assert.Equal([0.5f, 5, 200, 2000], Bits.Of(learned.Rounding.grad!));
        Assert.Equal([0.5f * (1 - 40), 2 * 300], Bits.Of(learned.Logarithm.grad!));

        using (no_grad())
        {
            learned.Rounding.sub_(0.8);
        }

        learned.Constrain();
        Assert.All(Bits.Of(learned.Rounding).Zip([0.7f, -4, 2.5f, -0.4f]), item => Assert.Equal(item.Second, item.First, 1e-6));
    }

    [Fact]
    public void AdaRoundStartsAtTheWeightAndDecidesByTheSideOfTheMiddle()
    {
        using var scope = NewDisposeScope();
        var start = new QuantizedTensor(1, 4, new QuantizationScheme(3, symmetric: true, Granularity.Channel), [1, 2, -1, 3], [0.5f], []);
        using var learned = new AdaRoundWeight(tensor(new[] { 0.6f, 0.8f, -0.4f, 9 }, 1, 4), start);
        var soft = Bits.Of(learned.Apply(tensor(0)));
        Assert.All(soft.Zip([0.6f, 0.8f, -0.4f, 1.495f]), item => Assert.Equal(item.Second, item.First, 1e-6));

        using (no_grad())
        {
            learned.Rounding.copy_(tensor(new[] { 0.1f, -0.1f, -9, -9 }, 1, 4));
        }

        Assert.Equal([2, 1, -1, 2], learned.Convert().Codes);
    }

    [Theory]
    [InlineData(0.1, 0, 0)]
    [InlineData(0.2, 0, 4)]
    [InlineData(1, 0, 4)]
    [InlineData(1, 9, 0)]
    [InlineData(1, -9, 0)]
    public void AdaRoundPaysForUndecidedWeightsOnceItIsWarm(double progress, float choice, double expected)
    {
        using var scope = NewDisposeScope();
        var start = new QuantizedTensor(2, 2, new QuantizationScheme(3, symmetric: true, Granularity.Channel), [1, 2, -1, 3], [0.5f, 1], []);
        using var learned = new AdaRoundWeight(tensor(start.Dequantize(), 2, 2), start);
        using (no_grad())
        {
            learned.Rounding.fill_(choice);
        }

        Assert.Equal(expected, learned.Penalty(progress).sum().item<float>(), 1e-5);
    }

    [Fact]
    public void AdaRoundPaysLessForHalfDecidedWeightsAsItGoesOn()
    {
        using var scope = NewDisposeScope();
        var start = new QuantizedTensor(1, 1, new QuantizationScheme(3, symmetric: true, Granularity.Channel), [1], [0.5f], []);
        using var learned = new AdaRoundWeight(full([1, 1], 0.6f), start);
        double[] progress = [0.2, 0.5, 0.8, 1];
        var paid = Array.ConvertAll(progress, done => learned.Penalty(done).item<float>());
        Assert.Equal(1 - Math.Pow(0.6, 20), paid[0], 1e-4);
        Assert.Equal(1 - Math.Pow(0.6, 2), paid[^1], 1e-4);
        Assert.Equal(paid.OrderDescending(), paid);
    }

    private static float[] Normal(Random random, int count) =>
        [.. Enumerable.Range(0, count).Select(_ => (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble())))];

    private static void Equal(QuantizedTensor expected, QuantizedTensor found)
    {
        Assert.Equal(expected.Codes, found.Codes);
        Bits.Equal(expected.Scales, found.Scales);
        Assert.Equal(expected.ZeroPoints, found.ZeroPoints);
        Assert.Equal(expected.GroupIndex, found.GroupIndex);
        Assert.Equal(expected.Scheme, found.Scheme);
    }
}
