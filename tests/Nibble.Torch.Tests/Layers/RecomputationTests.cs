using Nibble.Torch.Layers;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Layers;

public sealed class RecomputationTests
{
    [Theory]
    [InlineData(true, true)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    public void GradientsAreThoseOfThePlainForm(bool inputLearns, bool weightLearns)
    {
        using var scope = NewDisposeScope();
        var (plainInput, plainWeight) = Compute((x, part) => part(part(x)));
        var (input, weight) = Compute((x, part) => Recomputation.Run(Recomputation.Run(x, part), part));
        Assert.Equal(plainInput, input);
        Assert.Equal(plainWeight, weight);
        Assert.Equal(inputLearns, input is not null);
        Assert.Equal(weightLearns, weight is not null);

        (float[]? Input, float[]? Weight) Compute(Func<Tensor, Func<Tensor, Tensor>, Tensor> run)
        {
            var x = (arange(6, dtype: float32) / 7).reshape(2, 3).requires_grad_(inputLearns);
            var w = (arange(9, dtype: float32) / 5).reshape(3, 3).requires_grad_(weightLearns);
            run(x, y => y.matmul(w).tanh() + y).square().sum().backward();
            return (x.grad is { } ofX ? Bits.Of(ofX) : null, w.grad is { } ofW ? Bits.Of(ofW) : null);
        }
    }

    [Fact]
    public void APartIsSeenForTheFirstTimeOnce()
    {
        using var scope = NewDisposeScope();
        var seen = new List<bool>();
        Tensor Part(Tensor x)
        {
            seen.Add(Recomputation.IsFirstPass);
            return x * 2;
        }

        var x = ones(2, requires_grad: true);
        Recomputation.Run(x, Part).sum().backward();
        Assert.Equal([true, false], seen);
        Assert.Equal([2f, 2f], Bits.Of(x.grad!));
        Assert.True(Recomputation.IsFirstPass);

        using var guard = no_grad();
        Recomputation.Run(x, Part);
        Assert.Equal([true, false, false], seen);
    }

    [Fact]
    public void APartThatThrowsLeavesNoTrace()
    {
        using var scope = NewDisposeScope();
        Assert.ThrowsAny<Exception>(() => Recomputation.Run(ones(2, requires_grad: true), _ => throw new InvalidOperationException("no")));
        Assert.True(Recomputation.IsFirstPass);
    }
}
