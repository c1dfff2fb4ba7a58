using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Observers;
using Nibble.Torch.Layers;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Layers;

public sealed class InputQuantizersTests
{
    private static readonly Gen<float[]> Token = Gen
        .Frequency((5, Gen.Float[-9, 9].Array[7]), (1, Gen.Const(new float[7])), (1, Gen.Float[0, 1e-41f].Array[7]));

    [Fact]
    public void DynamicQuantizesEachTokenByItselfAsTheScalarFormulaDoes() =>
        Gen.Select(Gen.Int[2, 8], Gen.Bool, Token.Array[6]).Sample((bits, symmetric, tokens) =>
        {
            using var scope = NewDisposeScope();
            var scheme = new QuantizationScheme(bits, symmetric, Granularity.Token);
            var expected = tokens.SelectMany(token =>
            {
                var parameters = QuantizationParameters.FromRange(new ValueRange(token.Min(), token.Max()), scheme);
                return token.Select(value => ScalarQuantizer.FakeQuantize(value, parameters, scheme.Codes));
            });
            var x = tensor(tokens.SelectMany(token => token).ToArray()).view(2, 3, 7);
            var result = new DynamicInputQuantizer(scheme).Apply(x);
            Assert.Equal(x.shape, result.shape);
            Bits.Equal(expected, result);
        });

    [Fact]
    public void StaticEqualsTheScalarQuantizer() =>
        Gen.Select(Gen.Int[2, 8], Gen.Bool, Gen.Float[0.01f, 3], Gen.Float[-300, 300].Array[1, 30]).Sample((bits, symmetric, scale, values) =>
        {
            using var scope = NewDisposeScope();
            var scheme = new QuantizationScheme(bits, symmetric, Granularity.Tensor);
            var parameters = new QuantizationParameters(scale, symmetric ? 0 : scheme.Codes.Max - 1);
            using var quantizer = new StaticInputQuantizer(scheme, parameters);
            Bits.Equal(values.Select(value => ScalarQuantizer.FakeQuantize(value, parameters, scheme.Codes)), quantizer.Apply(tensor(values)));
        });

    [Fact]
    public void DynamicPassesTheGradientStraightThrough()
    {
        using var scope = NewDisposeScope();
        var x = tensor(new[] { -3f, 0.1f, 2 }).requires_grad_();
        (new DynamicInputQuantizer(new QuantizationScheme(4, true, Granularity.Token)).Apply(x) * tensor(new[] { 1f, 2, 3 })).sum().backward();
        Assert.Equal([1f, 2, 3], Bits.Of(x.grad!));
    }

    [Fact]
    public void StaticPassesTheGradientInsideItsRange()
    {
        using var scope = NewDisposeScope();
        using var quantizer = new StaticInputQuantizer(new QuantizationScheme(4, false, Granularity.Tensor), new QuantizationParameters(0.5f, -8));
        var x = tensor(new[] { -3f, 0.1f, 2, 99 }).requires_grad_();
        (quantizer.Apply(x) * tensor(new[] { 1f, 2, 3, 4 })).sum().backward();
        Assert.Equal([0f, 2, 3, 0], Bits.Of(x.grad!));
    }

    [Fact]
    public void ObservingShowsTheValuesAndChangesNothing()
    {
        using var scope = NewDisposeScope();
        var observer = new MinMaxObserver();
        var x = tensor(new[,] { { -3f, 0.1f }, { 2, 99 } });
        Assert.Equal([-3f, 2, 0.1f, 99], Bits.Of(new ObservingQuantizer(observer).Apply(x.t())));
        Assert.Equal(4, observer.Count);
        Assert.Equal(new ValueRange(-3, 99), observer.Range(new QuantizationScheme(8, false, Granularity.Tensor)));
    }

    [Fact]
    public void CreateFollowsTheArtifact()
    {
        var scheme = new QuantizationScheme(8, true, Granularity.Tensor);
        Assert.Null(InputQuantizers.Create(null));
        Assert.IsType<StaticInputQuantizer>(InputQuantizers.Create(new ActivationQuantization(scheme, new QuantizationParameters(1, 0))));
        Assert.IsType<DynamicInputQuantizer>(InputQuantizers.Create(new ActivationQuantization(new QuantizationScheme(8, true, Granularity.Token), null)));
    }

    [Fact]
    public void LinearUsesItsQuantizersAndItsBias()
    {
        using var scope = NewDisposeScope();
        using var linear = new QuantizableLinear(2, 1, bias: true);
        using (no_grad())
        {
            linear.Weight.copy_(tensor(new[,] { { 0.6f, -1.4f } }));
            linear.Bias!.fill_(10);
        }

        float[] values = [1.2f, 2.6f];
        var x = tensor(values);
        Assert.Equal(10 + (0.6f * 1.2f) + (-1.4f * 2.6f), linear.forward(x).item<float>(), 1e-5f);
        linear.WeightQuantizer = linear.InputQuantizer = new StaticInputQuantizer(
            new QuantizationScheme(4, true, Granularity.Tensor), new QuantizationParameters(1, 0));
        Assert.Equal(10 + (1 * 1) + (-1 * 3), linear.forward(x).item<float>());
    }
}
