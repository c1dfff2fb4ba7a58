using Nibble.Torch.Training;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Training;

public class InputFakeQuantizersTests
{
    private static readonly QuantizationScheme Scheme = new(4, symmetric: false, Granularity.Tensor);

    private static readonly float[] Highest = [0, 3];

    public static TheoryData<ActivationEstimator, bool> All
    {
        get
        {
            var data = new TheoryData<ActivationEstimator, bool>();
            foreach (var estimator in Enum.GetValues<ActivationEstimator>())
            {
                data.Add(estimator, true);
                data.Add(estimator, false);
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(All))]
    public void ConvertGivesTheParametersThatTrainingComputedWith(ActivationEstimator estimator, bool symmetric)
    {
        using var scope = NewDisposeScope();
        var scheme = new QuantizationScheme(4, symmetric, Granularity.Tensor) { ScalePrecision = ScalePrecision.Float16 };
        var quantizer = InputFakeQuantizer.Create(estimator, scheme);
        var x = tensor(new[] { -1f, -0.3f, 0, 0.7f, 2.9f });
        quantizer.Apply(x * 0.8f);
        using (no_grad())
        {
            foreach (var parameter in quantizer.Parameters)
            {
                parameter.add_(0.3);
            }
        }

        quantizer.Frozen = true;
        var parameters = quantizer.Convert().Static!.Value;
        Bits.Equal([.. Bits.Of(x).Select(value => ScalarQuantizer.FakeQuantize(value, parameters, scheme.Codes))], quantizer.Apply(x));
    }

    [Fact]
    public void ConvertBeforeAnyInputSaysThatTheRangeIsUnknown() =>
        Assert.Contains("No input",
            Assert.Throws<InvalidOperationException>(InputFakeQuantizer.Create(ActivationEstimator.LearnedScale, Scheme).Convert).Message,
            StringComparison.Ordinal);

    [Fact]
    public void ObservedFollowsTheInputsUntilItIsFrozen()
    {
        using var scope = NewDisposeScope();
        var quantizer = InputFakeQuantizer.Create(ActivationEstimator.StraightThrough, Scheme);
        quantizer.Start(new QuantizationParameters(0.1f, Scheme.Codes.Min));
        var x = tensor(Highest);
        quantizer.Apply(x);
        var moved = quantizer.Convert().Static!.Value.Scale;
        Assert.Equal((1.5f + (0.1f * 1.5f)) / 15, moved, 1e-6f);
        using (no_grad())
        {
            quantizer.Apply(x);
        }

        quantizer.Frozen = true;
        quantizer.Apply(x);
        Assert.Equal(moved, quantizer.Convert().Static!.Value.Scale);
    }

    [Fact]
    public void ClippedGivesItsEndTheGradientOfWhatLiesBeyond()
    {
        // PACT (Choi et al. 2018, equation 3): the gradient of alpha is 1 where x >= alpha and 0 elsewhere. Alpha is 1.5 here and learned as start * exp(p).
        using var scope = NewDisposeScope();
        var quantizer = InputFakeQuantizer.Create(ActivationEstimator.ClippedActivation, Scheme);
        quantizer.Start(new QuantizationParameters(0.1f, Scheme.Codes.Min));
        var x = tensor(new[] { -1f, 0.5f, 2f, 3f }).requires_grad_();
        (quantizer.Apply(x) * tensor(new[] { 1f, 2, 3, 4 })).sum().backward();
        Assert.Equal(1.5f * (3 + 4), quantizer.Parameters.Single().grad!.item<float>(), 1e-5f);
        Assert.Equal([0f, 2, 0, 0], Bits.Of(x.grad!));
    }

    [Theory]
    [InlineData(ActivationEstimator.LearnedScale, 1)]
    [InlineData(ActivationEstimator.LearnedScaleAndOffset, 2)]
    public void LearnedReachesItsParameters(ActivationEstimator estimator, int count)
    {
        using var scope = NewDisposeScope();
        var quantizer = InputFakeQuantizer.Create(estimator, Scheme);
        quantizer.Start(new QuantizationParameters(0.1f, 0));
        quantizer.Apply(tensor(new[] { -5f, 0.13f, 4f })).sum().backward();
        Assert.Equal(count, quantizer.Parameters.Count());
        Assert.All(quantizer.Parameters, parameter => Assert.NotEqual(0, parameter.grad!.item<float>()));
    }
}
