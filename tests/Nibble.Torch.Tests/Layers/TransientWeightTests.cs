using Nibble.Torch.Layers;
using Nibble.Torch.Tests.Shared;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Layers;

public sealed class TransientWeightTests
{
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void LinearComputesAndPassesGradientsAsALayerThatKeepsItsWeight(bool bias)
    {
        using var scope = NewDisposeScope();
        using var kept = Layer(bias);
        using var transient = Layer(bias);
        using var one = new Squared(transient: false);
        using var other = new Squared(transient: true);
        kept.WeightQuantizer = one.Quantizer;
        transient.WeightQuantizer = other.Quantizer;
        var (x, y) = (Input(), Input());
        var (expected, found) = (kept.forward(x), transient.forward(y));
        Assert.Equal(Bits.Of(expected), Bits.Of(found), (a, b) => Math.Abs(a - b) < 1e-6f);

        expected.square().sum().backward();
        found.square().sum().backward();
        Close(x.grad!, y.grad!);
        Close(one.Source.grad!, other.Source.grad!);
        if (bias)
        {
            Close(kept.Bias!.grad!, transient.Bias!.grad!);
        }
    }

    [Fact]
    public void LinearNeedsNoGradientOfItsInput()
    {
        using var scope = NewDisposeScope();
        using var layer = Layer(bias: false);
        using var quantizer = new Squared(transient: true);
        layer.WeightQuantizer = quantizer.Quantizer;
        layer.forward(ones(3, 4)).sum().backward();
        Assert.All(Bits.Of(quantizer.Source.grad!), value => Assert.NotEqual(0, value));
    }

    [Fact]
    public void LinearPassesTheInputsGradientWhereTheWeightHasNone()
    {
        using var scope = NewDisposeScope();
        using var layer = Layer(bias: false);
        layer.WeightQuantizer = new Constant();
        var x = Input();
        layer.forward(x).sum().backward();
        Assert.All(Bits.Of(x.grad!), value => Assert.Equal(10, value));
    }

    [Fact]
    public void ReleaseKeepsTheShape()
    {
        using var layer = Layer(bias: false);
        TransientWeight.Release(layer);
        Assert.Equal([5, 4], layer.Weight.shape);
        Assert.False(layer.Weight.requires_grad);
        Assert.All(Bits.Of(layer.Weight), value => Assert.Equal(0, value));
        Assert.Same(layer.Weight, layer.named_parameters().Single().parameter);
    }

    private static void Close(Tensor expected, Tensor found) => Assert.Equal(Bits.Of(expected), Bits.Of(found), (a, b) => Math.Abs(a - b) < 1e-4f);

    private static Tensor Input() => arange(24, dtype: float32).view(2, 3, 4).div(10).requires_grad_();

    private static QuantizableLinear Layer(bool bias)
    {
        var layer = new QuantizableLinear(4, 5, bias);
        Nibble.Torch.Models.Conversion.CopyInto(layer.Weight, [.. Enumerable.Range(0, 20).Select(i => i / 10f)]);
        return layer;
    }

    private sealed class Constant : ITransientWeight
    {
        public IReadOnlyList<Tensor> Sources => [];

        public Tensor Apply(Tensor tensor) => full(tensor.shape, 2f);
    }

    /// <summary>A weight that is the square of a parameter.</summary>
    private sealed class Squared : IDisposable
    {
        public Squared(bool transient)
        {
            Source = nn.Parameter(arange(1, 21, dtype: float32).view(5, 4) / 7);
            Quantizer = transient ? new Transient(Source) : new Plain(Source);
        }

        public Parameter Source { get; }

        public ITensorQuantizer Quantizer { get; }

        public void Dispose() => Source.Dispose();

        private sealed class Plain(Parameter source) : ITensorQuantizer
        {
            public Tensor Apply(Tensor tensor) => source.square();
        }

        private sealed class Transient(Parameter source) : ITransientWeight
        {
            public IReadOnlyList<Tensor> Sources => [source];

            public Tensor Apply(Tensor tensor) => source.square();
        }
    }
}
