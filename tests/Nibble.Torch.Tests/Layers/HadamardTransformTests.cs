using System.Numerics;
using Nibble.Torch.Layers;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Layers;

public sealed class HadamardTransformTests
{
    [Fact]
    public void MatrixIsOrthogonalAndSymmetricInEverySize()
    {
        for (var size = 1; size <= 200; size++)
        {
            using var scope = NewDisposeScope();
            using var transform = new HadamardTransform(size);
            var unit = eye(size, dtype: float64);
            var matrix = transform.Apply(unit);
            Assert.Equal(size, transform.Size);
            Assert.Equal(0, (matrix - matrix.t()).abs().max().item<double>(), 1e-12);
            Assert.Equal(0, (matrix.matmul(matrix) - unit).abs().max().item<double>(), 1e-12);

            // Flat: one value reaches every position with a share of at most sqrt(2), or 1 where the size is a power of two.
            var bound = (BitOperations.IsPow2(size) ? 1 : Math.Sqrt(2)) / Math.Sqrt(size);
            Assert.InRange(matrix.abs().max().item<double>(), 0, bound + 1e-12);
        }
    }

    [Fact]
    public void PowersOfTwoAreSylvestersMatrixAcrossFactors()
    {
        using var scope = NewDisposeScope();
        using var transform = new HadamardTransform(512);
        var matrix = transform.Apply(eye(512, dtype: float64)) * Math.Sqrt(512);
        foreach (var (i, j) in new[] { (0, 0), (511, 511), (5, 7), (64, 64), (300, 450), (511, 256) })
        {
            Assert.Equal(BitOperations.PopCount((uint)(i & j)) % 2 == 0 ? 1 : -1, matrix[i, j].item<double>(), 1e-12);
        }
    }

    [Fact]
    public void TwelveIsTheProductWorkedByHand()
    {
        // 4 x 3: rows of the Hadamard matrix of 4 times cas(2 pi i j / 3) / sqrt 3, cas 0 = 1, cas 120 degrees = 0.366, cas 240 degrees = -1.366.
        using var scope = NewDisposeScope();
        using var transform = new HadamardTransform(12);
        var row = transform.Apply(tensor([0f, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0])).data<float>().ToArray();
        float[] part = [0.288675f, 0.105662f, -0.394338f];
        float[] expected = [.. part, .. part.Select(value => -value), .. part, .. part.Select(value => -value)];
        Assert.All(expected.Zip(row), pair => Assert.Equal(pair.First, pair.Second, 1e-5));
    }

    [Fact]
    public void ApplyKeepsShapeAndTypeAndPassesGradients()
    {
        using var scope = NewDisposeScope();
        using var transform = new HadamardTransform(20);
        var x = rand(2, 3, 20, requires_grad: true);
        var y = transform.Apply(x);
        Assert.Equal([2, 3, 20], y.shape);
        Assert.Equal(float32, y.dtype);
        y.square().sum().backward();
        Assert.Equal(0, (x.grad! - (2 * x)).abs().max().item<float>(), 1e-5);
    }
}
