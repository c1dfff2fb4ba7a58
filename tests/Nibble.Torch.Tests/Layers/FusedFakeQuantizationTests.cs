using Nibble.Numerics;
using Nibble.Torch.Layers;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Layers;

public sealed class FusedFakeQuantizationTests
{
    private static readonly Gen<Granularity> Granularities =
        Gen.OneOf(Gen.Const(Granularity.Tensor), Gen.Const(Granularity.Channel), Gen.Const(Granularity.Token), Gen.Int[1, 40].Select(Granularity.Group));

    private static readonly Gen<CodeRange> Codes = Gen
        .OneOf(Gen.Const(new CodeRange(-1, 1)), Gen.Int[2, 8].Select(bits => new CodeRange(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)));

    [Fact]
    public void LearnedEqualsTheComposedFormForwardAndBackward() =>
        Gen.Select(Granularities, Codes, Gen.Int[1, 6], Gen.Int[1, 75], Gen.Bool, Gen.Bool, Gen.Int[0, 1 << 20])
            .Sample((granularity, codes, rows, columns, offset, stretched, seed) =>
        {
            using var scope = NewDisposeScope();
            var (random, shift) = (new Random(seed), stretched ? 0.5f : 0);
            var groups = QuantizedTensor.GroupCount(rows, columns, granularity);
            var scales = Enumerable.Range(0, groups).Select(_ => random.Next(2) == 0 ? 0.5f : 0.1f + random.NextSingle()).ToArray();
            var points = Enumerable.Range(0, groups).Select(_ => (float)random.Next(codes.Min, codes.Max + 1)).ToArray();
            var values = Enumerable.Range(0, rows * columns)
                .Select(i => i % 3 == 0 ? random.Next(-60, 60) / 4f : (random.NextSingle() - 0.5f) * 1.5f * codes.Steps).ToArray();
            var given = Array.ConvertAll(values, _ => random.NextSingle() - 0.5f);
            var weights = tensor(given).view(rows, columns);

            (float[] Values, Tensor X, Tensor Scale, Tensor? ZeroPoint) Run(Func<Tensor, Tensor, Tensor?, CodeRange, Granularity, float, Tensor> form)
            {
                var x = tensor(values).view(rows, columns).requires_grad_();
                var scale = tensor(scales).unsqueeze(1).requires_grad_();
                var zeroPoint = offset ? tensor(points).unsqueeze(1).requires_grad_() : null;
                var y = form(x, scale, zeroPoint, codes, granularity, shift);
                (y * weights).sum().backward();
                return (Bits.Of(y), x.grad!, scale.grad!, zeroPoint?.grad);
            }

            var composed = Run(FusedFakeQuantization.ComposedLearned);
            var fused = Run(FusedFakeQuantization.Learned);
            Bits.Equal(composed.Values, fused.Values);

            // Autograd multiplies by the scale and divides again; where the scale is a power of two, nothing is rounded.
            var (expectedX, foundX) = (Bits.Of(composed.X), Bits.Of(fused.X));
            for (var i = 0; i < values.Length; i++)
            {
                var exact = granularity is PerTensor && scales[0] == 0.5f;
                Assert.Equal(expectedX[i], foundX[i], exact ? 0 : 2e-7 * Math.Abs(expectedX[i]));
                Assert.True(foundX[i] == 0 || foundX[i] == given[i]);
            }

            Near(composed.Scale, fused.Scale, columns * rows);
            if (offset)
            {
                Near(composed.ZeroPoint!, fused.ZeroPoint!, columns * rows);
            }

            // The composed form sums in binary32, so terms that cancel leave more than 1e-5 of what is left.
            void Near(Tensor expected, Tensor found, int terms) => Assert.All(
                Bits.Of(expected).Zip(Bits.Of(found)),
                pair => Assert.Equal(pair.First, pair.Second, (1e-5 * Math.Abs(pair.First)) + (1e-6 * codes.Steps * Math.Sqrt(terms))));
        });

    [Theory]
    [InlineData(-128, 127)]
    [InlineData(-8, 7)]
    [InlineData(-2, 1)]
    public void LearnedEqualsLibtorchsLearnableFakeQuantizer(int low, int high)
    {
        // Reached through TorchScript, as TorchSharp binds it nowhere; a script that names what does not exist, or does not end its last line, ends the
        // process.
        using var unit = jit.compile(
            $"def fake(x, scale, zero_point):\n    return torch._fake_quantize_learnable_per_channel_affine(x, scale, zero_point, 0, {low}, {high}, 1.0)\n");
        const int Rows = 5;
        const int Columns = 203;
        using var scope = NewDisposeScope();
        var random = new Random(3);
        float[] scales = [0.5f, 0.25f, 2, 0.125f, 1];
        float[] points = [0, 0, low, high, (low + high) / 2];
        var values = Enumerable.Range(0, Rows * Columns).Select(i => scales[i / Columns] * ((random.NextSingle() - 0.5f) * 2 * (high - low))).ToArray();
        var weights = rand(Rows, Columns) - 0.5f;

        (float[] Values, float[] X, float[] Scale, float[] ZeroPoint) Run(Func<Tensor, Tensor, Tensor, Tensor> form)
        {
            var x = tensor(values).view(Rows, Columns).requires_grad_();
            var (scale, zeroPoint) = (tensor(scales).requires_grad_(), tensor(points).requires_grad_());
            var y = form(x, scale, zeroPoint);
            (y * weights).sum().backward();
            return (Bits.Of(y), Bits.Of(x.grad!), Bits.Of(scale.grad!), Bits.Of(zeroPoint.grad!));
        }

        var expected = Run((x, scale, zeroPoint) => unit.invoke<Tensor>("fake", x, scale, zeroPoint));
        var found = Run((x, scale, zeroPoint) => FusedFakeQuantization.Learned(x, scale, zeroPoint, new CodeRange(low, high), Granularity.Channel));
        Assert.Equal(expected.Values, found.Values);
        Assert.Equal(expected.X, found.X);
        Assert.All(expected.Scale.Zip(found.Scale), pair => Assert.Equal(pair.First, pair.Second, 1e-5 * Math.Max(1, Math.Abs(pair.First)) * 10));
        Assert.All(expected.ZeroPoint.Zip(found.ZeroPoint), pair => Assert.Equal(pair.First, pair.Second, 1e-5 * Math.Max(1, Math.Abs(pair.First)) * 10));
        Assert.Contains(found.X, value => value == 0);
        Assert.DoesNotContain(0f, found.ZeroPoint);
    }

    [Theory]
    [InlineData(0f)]
    [InlineData(0.5f)]
    public void LearnedHasTheSlopesOfTheSmoothedFunction(float shift)
    {
        // The straight-through surrogate: rounding adds to value / scale a residual that stays as it is. It is smooth in everything but at the ends.
        var (codes, point, scale) = (new CodeRange(-8, 7), 2f, 0.37f);
        float[] values = [-9.1f, -3.4f, -0.6f, 0.05f, 0.9f, 1.3f, 7.7f];
        float[] weights = [0.3f, -1.2f, 0.7f, 2, -0.4f, 1.1f, 0.9f];
        double Clamp(double v) => Math.Clamp(v, codes.Min - point, codes.Max - point + (2 * shift));
        var residuals = values.Select(value =>
        {
            var v = Clamp(value / scale);
            return (shift == 0 ? Math.Round(v) : Math.Min(Math.Floor(v), codes.Max - point) + shift) - v;
        }).ToArray();
        double Surrogate(Func<int, double> value, double s) => values.Select((_, i) => weights[i] * s * (Clamp(value(i) / s) + residuals[i])).Sum();
        const double Step = 1e-6;

        using var scope = NewDisposeScope();
        var (x, learned) = (tensor(values).requires_grad_(), tensor(scale).requires_grad_());
        (FusedFakeQuantization.Learned(x, learned, tensor(point), codes, Granularity.Tensor, shift) * tensor(weights)).sum().backward();
        var ofScale = (Surrogate(i => values[i], scale + Step) - Surrogate(i => values[i], scale - Step)) / (2 * Step);
        Assert.Equal(ofScale, learned.grad!.item<float>(), 1e-4);
        var ofX = Bits.Of(x.grad!);
        for (var j = 0; j < values.Length; j++)
        {
            var slope = (Surrogate(i => values[i] + (i == j ? Step : 0), scale) - Surrogate(i => values[i] - (i == j ? Step : 0), scale)) / (2 * Step);
            Assert.Equal(slope, ofX[j], 1e-4);
        }
    }

    [Fact]
    public void MinMaxEqualsTheComposedFormAndPassesTheGradient() =>
        Gen.Select(Granularities, Gen.Int[2, 8], Gen.Bool, Gen.Enum<ScalePrecision>(), Gen.Int[1, 4], Gen.Float[-9, 9].Array[1, 60])
            .Sample((granularity, bits, symmetric, precision, rows, row) =>
        {
            using var scope = NewDisposeScope();
            var scheme = new QuantizationScheme(bits, symmetric, granularity) { ScalePrecision = precision };
            var x = tensor(Enumerable.Range(0, rows).SelectMany(i => row.Select(value => value * (i + 1))).ToArray()).view(rows, row.Length).requires_grad_();
            var weights = arange(x.numel(), dtype: float32).view(x.shape);
            var y = FusedFakeQuantization.MinMax(x, scheme);
            Bits.Equal(Bits.Of(FusedFakeQuantization.ComposedMinMax(x, scheme)), y);
            (y * weights).sum().backward();
            Assert.Equal(Bits.Of(weights), Bits.Of(x.grad!));
        });

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    public void MinMaxOfWhatIsNotFiniteIsNaNAsTheComposedForm(float value)
    {
        using var scope = NewDisposeScope();
        var scheme = new QuantizationScheme(4, false, Granularity.Token);
        var x = tensor(new[,] { { 1, value }, { 1, 2 } });
        var expected = Bits.Of(FusedFakeQuantization.ComposedMinMax(x, scheme));
        Assert.Equal([true, true, false, false], expected.Select(float.IsNaN));
        Assert.Equal(expected, Bits.Of(FusedFakeQuantization.MinMax(x, scheme)));
    }

    [Fact]
    public void OtherLayoutsAndTypesGiveTheSame()
    {
        using var scope = NewDisposeScope();
        var codes = new CodeRange(-8, 7);
        var turned = (rand(2, 7, 3) * 9).transpose(1, 2).requires_grad_();
        Assert.False(turned.is_contiguous());
        var straight = turned.detach().contiguous().requires_grad_();
        var wide = turned.detach().to(float64).requires_grad_();
        var scale = tensor(new[] { 0.5f, 0.25f, 0.125f, 1, 2, 0.75f });
        var results = new[] { turned, straight, wide }.Select(x =>
        {
            var y = FusedFakeQuantization.Learned(x, scale.to(x.dtype), null, codes, Granularity.Token);
            (y * straight.detach()).sum().backward();
            return (Type: y.dtype, Values: Bits.Of(y), Gradient: Bits.Of(x.grad!));
        }).ToArray();
        Assert.Equal([float32, float32, float64], results.Select(result => result.Type));
        Assert.All(results, result => Assert.Equal(results[0].Values.Concat(results[0].Gradient), result.Values.Concat(result.Gradient)));

        var scheme = new QuantizationScheme(8, false, Granularity.Token);
        Assert.Equal(Bits.Of(FusedFakeQuantization.MinMax(straight, scheme)), Bits.Of(FusedFakeQuantization.MinMax(turned, scheme)));
        Assert.Equal(float64, FusedFakeQuantization.MinMax(wide, scheme).dtype);
    }

    [Fact]
    public void GradientsGoOnlyWhereTheyAreWanted()
    {
        using var scope = NewDisposeScope();
        var codes = new CodeRange(-8, 7);
        float[] values = [0.6f, 9];
        var (fixedX, fixedScale) = (tensor(values), ones(1));
        var (x, scale) = (tensor(values).requires_grad_(), ones(1).requires_grad_());
        FusedFakeQuantization.Learned(fixedX, scale, null, codes, Granularity.Tensor).sum().backward();
        Assert.Equal(7.4f, scale.grad!.item<float>(), 1e-5f);
        FusedFakeQuantization.Learned(x, fixedScale, null, codes, Granularity.Tensor).sum().backward();
        Assert.Equal([1f, 0], Bits.Of(x.grad!));
        Assert.False(FusedFakeQuantization.Learned(fixedX, fixedScale, null, codes, Granularity.Tensor).requires_grad);
        Assert.False(FusedFakeQuantization.MinMax(fixedX, new QuantizationScheme(4, true, Granularity.Tensor)).requires_grad);
        using var guard = no_grad();
        Assert.False(FusedFakeQuantization.Learned(x, scale, null, codes, Granularity.Tensor).requires_grad);
        Assert.False(FusedFakeQuantization.MinMax(x, new QuantizationScheme(4, true, Granularity.Tensor)).requires_grad);
    }

    [Fact]
    public async Task ManyStepsKeepNoMemoryAndSurviveAnEagerCollector()
    {
        const int Steps = 2000;
        const int Warm = 500;
        const long StepBytes = 3 * 128 * 172 * sizeof(float);
        using var stop = new CancellationTokenSource();
        var collecting = Task.Run(
            () =>
            {
                while (!stop.IsCancellationRequested)
                {
                    GC.Collect(0, GCCollectionMode.Forced, blocking: true);
                    GC.WaitForPendingFinalizers();
                }
            },
            TestContext.Current.CancellationToken);
        var (codes, scheme) = (new CodeRange(-8, 7), new QuantizationScheme(4, false, Granularity.Group(32)));
        using var outer = NewDisposeScope();
        var weight = (rand(128, 172) - 0.5f).requires_grad_();
        var scale = full(128 * 6, 0.05f).requires_grad_();
        var before = 0L;
        for (var step = 0; step < Steps; step++)
        {
            if (step == Warm)
            {
                before = Environment.WorkingSet;
            }

            using var scope = NewDisposeScope();
            var y = FusedFakeQuantization.MinMax(FusedFakeQuantization.Learned(weight, scale, null, codes, Granularity.Group(32)), scheme);
            y.sum().backward();
            weight.grad = null;
            scale.grad = null;
        }

        await stop.CancelAsync();
        await collecting;

        // One tensor a step would be several times as much.
        Assert.InRange(Environment.WorkingSet - before, long.MinValue, StepBytes * (Steps - Warm) / 10);
    }
}
