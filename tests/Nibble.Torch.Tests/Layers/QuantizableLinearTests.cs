using Nibble.Numerics;
using Nibble.Torch.Layers;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Layers;

public sealed class QuantizableLinearTests
{
    [Theory]
    [InlineData(4, 4)]
    [InlineData(4, 8)]
    [InlineData(4, 0)]
    [InlineData(0, 0)]
    public void LayersSideBySideComputeWhatEachWouldAlone(int firstBits, int secondBits)
    {
        using var scope = NewDisposeScope();
        using var first = Layer(Dynamic(firstBits));
        using var second = Layer(Dynamic(secondBits));
        var x = randn(2, 3, 7).requires_grad_();

        var together = QuantizableLinear.Project(x, first, second);
        (together[0] * together[1]).sum().backward();
        var gradient = Bits.Of(x.grad!);

        x.grad = null;
        var (a, b) = (first.forward(x), second.forward(x));
        (a * b).sum().backward();
        Assert.Equal(Bits.Of(a), Bits.Of(together[0]));
        Assert.Equal(Bits.Of(b), Bits.Of(together[1]));
        Assert.All(gradient.Zip(Bits.Of(x.grad!)), pair => Assert.Equal(pair.First, pair.Second, 1e-5f * Math.Max(1, Math.Abs(pair.First))));
    }

    [Theory]
    [InlineData(1, 1, 1)]
    [InlineData(1, 2, 2)]
    public void LayersSideBySideQuantizeOnceWhatAllQuantizeAlike(int firstKind, int secondKind, int calls)
    {
        using var scope = NewDisposeScope();
        var count = 0;
        using var first = Layer(new Counting(firstKind, () => count++));
        using var second = Layer(new Counting(secondKind, () => count++));
        QuantizableLinear.Project(randn(2, 7), first, second);
        Assert.Equal(calls, count);
    }

    [Fact]
    public void DynamicQuantizersAreAlikeWhereTheirSchemesAre()
    {
        Assert.True(Dynamic(4)!.IsLike(Dynamic(4)!));
        Assert.False(Dynamic(4)!.IsLike(Dynamic(8)!));
    }

    private static DynamicInputQuantizer? Dynamic(int bits) => bits == 0 ? null : new(new QuantizationScheme(bits, symmetric: false, Granularity.Token));

    private static QuantizableLinear Layer(ITensorQuantizer? quantizer)
    {
        var layer = new QuantizableLinear(7, 5, bias: true) { InputQuantizer = quantizer };
        using var guard = no_grad();
        layer.Weight.normal_();
        return layer;
    }

    private sealed class Counting(int kind, Action count) : ITensorQuantizer
    {
        private readonly int kind = kind;

        public Tensor Apply(Tensor tensor)
        {
            count();
            return tensor;
        }

        public bool IsLike(ITensorQuantizer other) => other is Counting counting && counting.kind == kind;
    }
}
