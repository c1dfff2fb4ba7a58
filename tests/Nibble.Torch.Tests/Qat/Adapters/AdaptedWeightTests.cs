using Nibble.Torch.Training;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Qat.Adapters;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Qat.Adapters;

public sealed class AdaptedWeightTests
{
    private static readonly QuantizationScheme Scheme = new(4, symmetric: false, Granularity.Group(8)) { ScalePrecision = ScalePrecision.Float16 };

    [Theory]
    [InlineData(GradientEstimator.StraightThrough)]
    [InlineData(GradientEstimator.LearnedScale)]
    [InlineData(GradientEstimator.LearnedScaleAndOffset)]
    public void ApplyBeginsWithWhatTheWeightAloneGivesAndConvertMergesTheAdapterExactly(GradientEstimator estimator)
    {
        using var scope = NewDisposeScope();
        using var layer = Layer();
        var adapted = Create(layer, TrainingMode.Adapters, estimator);
        Bits.Equal(Bits.Of(WeightFakeQuantizer.Create(estimator, Scheme, layer.Weight).Apply(layer.Weight)), adapted.Apply(layer.Weight));

        Disturb(adapted);
        var converted = adapted.Convert(layer.Weight);
        Bits.Equal(converted.Dequantize(), adapted.Apply(layer.Weight));
        Assert.False(layer.Weight.requires_grad);
    }

    [Theory]
    [InlineData(TrainingMode.Adapters)]
    [InlineData(TrainingMode.AdaptersOnNormalFloat)]
    public void GradientsReachAdaptersAndScalesThroughTheProduct(TrainingMode mode)
    {
        using var scope = NewDisposeScope();
        using var layer = Layer();
        var adapted = Create(layer, mode, GradientEstimator.LearnedScale);
        Disturb(adapted);
        layer.WeightQuantizer = adapted;
        layer.forward(randn(5, 20, generator: new Generator(9))).square().sum().backward();
        Assert.All(adapted.Adapters.Concat(adapted.Parameters), parameter => Assert.Contains(Bits.Of(parameter.grad!), value => value != 0));
    }

    [Fact]
    public void NormalFloatHoldsNoFloatWeightAndTrainsOverItsValues()
    {
        using var scope = NewDisposeScope();
        using var layer = Layer();
        var expected = new float[layer.Weight.numel()];
        NormalFloatTensor.Quantize(Bits.Of(layer.Weight)).Dequantize(expected);
        var adapted = Create(layer, TrainingMode.AdaptersOnNormalFloat, GradientEstimator.StraightThrough);
        Assert.All(Bits.Of(layer.Weight), value => Assert.Equal(0, value));

        using var packed = Layer();
        Conversion.CopyInto(packed.Weight, expected);
        var reference = Create(packed, TrainingMode.Adapters, GradientEstimator.StraightThrough);
        Bits.Equal(Bits.Of(reference.Apply(packed.Weight)), adapted.Apply(layer.Weight));
        Disturb(adapted);
        Bits.Equal(adapted.Convert(layer.Weight).Dequantize(), adapted.Apply(layer.Weight));
    }

    [Fact]
    public void NormalFloatOfALayerThatIsHeldAlreadyStaysAsItIs()
    {
        using var layer = Layer();
        var held = NormalFloatWeight.Hold(layer);
        Assert.Same(held, NormalFloatWeight.Hold(layer));
        using var scope = NewDisposeScope();
        Assert.Contains(Bits.Of(layer.forward(ones(1, 20))), value => value != 0);
    }

    [Fact]
    public void AdaptersHaveTheRankAndAreDrawnFromTheSeed()
    {
        using var layer = Layer();
        float[] Draw(ulong seed) =>
            Bits.Of(AdaptedWeight.Create(
            new QatSettings { Mode = TrainingMode.Adapters, AdapterRank = 3 }, Scheme, layer, null, new Generator(seed)).Adapters[0]);
        var adapters = Create(layer, TrainingMode.Adapters, GradientEstimator.LearnedScale).Adapters;
        Assert.Equal([[3, 20], [6, 3]], adapters.Select(adapter => adapter.shape));
        Assert.Equal(Draw(1), Draw(1));
        Assert.NotEqual(Draw(1), Draw(2));
    }

    private static AdaptedWeight Create(QuantizableLinear layer, TrainingMode mode, GradientEstimator estimator) =>
        AdaptedWeight.Create(new QatSettings { Mode = mode, Estimator = estimator, AdapterRank = 3 }, Scheme, layer, null, new Generator(1));

    private static void Disturb(AdaptedWeight adapted)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        foreach (var parameter in adapted.Adapters.Concat(adapted.Parameters))
        {
            parameter.add_(0.2 * randn(parameter.shape, generator: new Generator(2)));
        }
    }

    private static QuantizableLinear Layer()
    {
        var layer = new QuantizableLinear(20, 6, bias: false);
        using var scope = NewDisposeScope();
        Conversion.CopyInto(layer.Weight, Bits.Of(randn(6, 20, generator: new Generator(7))));
        return layer;
    }
}
