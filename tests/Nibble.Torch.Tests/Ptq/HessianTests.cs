using Nibble.Algorithms;
using Nibble.Numerics;
using Nibble.Torch.Ptq;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Ptq;

public class HessianTests
{
    [Fact]
    public void IsTwiceTheMeanOfTheInputsProductsWhateverTheBatches()
    {
        using var scope = NewDisposeScope();
        var inputs = randn([3, 10, 5], generator: new Generator(1));
        using var hessian = new Hessian(5);
        hessian.Add(inputs.narrow(0, 0, 1));
        hessian.Add(inputs.narrow(0, 1, 2).reshape(20, 5));
        Assert.Equal(30, hessian.Tokens);

        var factor = HessianFactor.Create(hessian.Matrix(), dampening: 0.5);
        var x = inputs.reshape(30, 5).to(float64);
        var expected = x.t().matmul(x) * (2 / 30d);
        Assert.Equal(expected.diagonal().to(float32).data<float>().ToArray(), factor.Importance.ToArray(), (a, b) => Math.Abs(a - b) < 1e-5);
        expected += eye(5, dtype: float64) * 0.5 * expected.diagonal().mean();
        var upper = tensor(factor.Values.Block(0).ToArray(), 5, 5).triu().to(float64);
        Assert.True(allclose(upper.matmul(upper.t()), expected, rtol: 1e-5, atol: 1e-5));
        Assert.Equal(0.5, factor.Dampening);
    }

    [Fact]
    public void ColumnsThatNothingReachesAreDeadAndTheStrongestComesFirst()
    {
        using var scope = NewDisposeScope();
        var inputs = randn([50, 4], generator: new Generator(2)) * tensor(new float[] { 1, 0, 5, 3 });
        using var hessian = new Hessian(4);
        hessian.Add(inputs);
        var factor = HessianFactor.Create(hessian.Matrix(), byActivation: true);
        Assert.Equal([1], factor.DeadColumns);
        Assert.Equal(2, factor.Order![0]);
        Assert.Equal(3, factor.Order[1]);
        Assert.Null(HessianFactor.Create(hessian.Matrix()).Order);
    }

    [Fact]
    public void InputsOfHalfPrecisionAreAddedUpInSingle()
    {
        using var scope = NewDisposeScope();
        var inputs = randn([7, 3], generator: new Generator(3)).to(bfloat16);
        using var narrow = new Hessian(3);
        using var wide = new Hessian(3);
        narrow.Add(inputs);
        wide.Add(inputs.to(float32));
        Assert.Equal(wide.Matrix().Block(0).ToArray(), narrow.Matrix().Block(0).ToArray());
    }

    [Theory]
    [InlineData(1)]
    [InlineData(14)]
    public void IsTheSameInBlocks(long blockElements)
    {
        using var scope = NewDisposeScope();
        using var hessian = new Hessian(5);
        hessian.Add(randn([7, 5], generator: new Generator(4)));
        var blocked = new SquareMatrix(5, blockElements);
        hessian.CopyTo(blocked);
        Assert.InRange(blocked.BlockCount, 2, 5);
        var whole = hessian.Matrix();
        Assert.Equal(1, whole.BlockCount);
        for (var row = 0; row < 5; row++)
        {
            Assert.Equal(whole.Row(row).ToArray(), blocked.Row(row).ToArray());
        }
    }

    [Fact]
    public void FewerTokensThanColumnsNeedOnlyDampening()
    {
        using var scope = NewDisposeScope();
        using var hessian = new Hessian(40);
        hessian.Add(ones(3, 40));
        var factor = HessianFactor.Create(hessian.Matrix());
        Assert.Equal(0.01, factor.Dampening);
        Assert.Null(factor.Warning);
    }

    [Fact]
    public void WhatDoesNotFitIsRefused()
    {
        using var scope = NewDisposeScope();
        using var hessian = new Hessian(3);
        Assert.Contains("The layer received no inputs", Assert.Throws<NibbleException>(() => hessian.Matrix()).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => hessian.Add(ones(2, 4)));
        hessian.Add(full([1, 3], float.PositiveInfinity));
        Assert.Contains("inputs overflow", Assert.Throws<NibbleException>(() => HessianFactor.Create(hessian.Matrix())).Message, StringComparison.Ordinal);
    }
}
