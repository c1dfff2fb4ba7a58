using Nibble.Torch.Ptq;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Ptq;

public class SymmetricSolverTests
{
    /// <summary>Matrices beyond LAPACK's 32 bits are solved in blocks; here in blocks of few columns.</summary>
    [Theory]
    [InlineData(1, 1, 4)]
    [InlineData(50, 1, 7)]
    [InlineData(50, 30, 25)]
    [InlineData(50, 30, 64)]
    [InlineData(131, 3, 16)]
    public void BlocksGiveTheSolution(int size, int columns, int length)
    {
        using var scope = NewDisposeScope();
        var factor = randn([size, size + 10], float64, generator: new Generator(1));
        var a = (factor.matmul(factor.t()) / size) + (0.1 * eye(size, dtype: float64));
        var expected = randn([size, columns], float64, generator: new Generator(2));
        var b = a.matmul(expected);
        Assert.True(allclose(expected, SymmetricSolver.SolveInBlocks(a.clone(), b, length), rtol: 1e-9, atol: 1e-9));

        // On the matrices at hand the plain solution is LAPACK's, and the other is as good.
        var (single, right) = (a.to(float32), b.to(float32));
        var plain = linalg.solve(single, right);
        Assert.True(plain.equal(SymmetricSolver.Solve(single, right)).all().item<bool>());
        Assert.True(allclose(plain, SymmetricSolver.SolveInBlocks(single.clone(), right.t().contiguous().t(), length), rtol: 1e-3, atol: 1e-3));
    }

    [Fact]
    public void WhatIsNotPositiveDefiniteIsRefused()
    {
        using var scope = NewDisposeScope();
        var indefinite = tensor(new float[] { 1, 2, 2, 1 }, 2, 2);
        var message = Assert.Throws<NibbleException>(() => SymmetricSolver.SolveInBlocks(indefinite, ones(2, 1), 1)).Message;
        Assert.Contains("Use more dampening", message, StringComparison.Ordinal);
    }
}
