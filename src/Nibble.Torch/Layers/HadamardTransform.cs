using System.Numerics;
using static TorchSharp.torch;

namespace Nibble.Torch.Layers;

/// <summary>Multiplies the last axis by an orthogonal matrix that spreads every value over all positions.</summary>
/// <remarks>
/// <para>For a power of two, this is the Hadamard matrix <c>H[i, j] = (-1)^popcount(i and j) / sqrt(n)</c> (Sylvester's construction). For other sizes,
/// <c>n = 2^k m</c> with an odd m, it is the Kronecker product of the matrix for 2^k and the discrete Hartley matrix <c>cas(2 pi i j / m) / sqrt(m)</c>,
/// <c>cas t = cos t + sin t</c> (Bracewell 1983), whose entries are nearly as flat. Both are symmetric and orthogonal, so the transform is its own inverse and
/// its own transpose.</para>
/// <para>It is computed factor by factor. Each factor is at most 64 wide, except for m. This works because a Hadamard matrix is itself a Kronecker
/// product.</para>
/// </remarks>
public sealed class HadamardTransform : IDisposable
{
    private const int FactorBits = 6;

    // The Kronecker factors, [f, f] each, in float64.
    private readonly Tensor[] factors;

    /// <summary>Creates the transform of an axis.</summary>
    /// <param name="size">The length of the axis, at least 1.</param>
    public HadamardTransform(int size)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(size, 1);
        Size = size;
        var bits = BitOperations.TrailingZeroCount(size);
        var odd = size >> bits;
        var matrices = new List<Tensor>();
        for (; bits > 0; bits -= Math.Min(bits, FactorBits))
        {
            matrices.Add(Matrix(1 << Math.Min(bits, FactorBits), (i, j) => 1 - (2 * (BitOperations.PopCount((uint)(i & j)) & 1))));
        }

        if (odd > 1)
        {
            matrices.Add(Matrix(odd, (i, j) =>
            {
                var angle = 2 * Math.PI * ((long)i * j % odd) / odd;
                return Math.Cos(angle) + Math.Sin(angle);
            }));
        }

        factors = [.. matrices];
    }

    /// <summary>The length of the axis.</summary>
    public int Size { get; }

    /// <summary>The product with the matrix, in the type and on the device of <paramref name="x"/>.</summary>
    /// <param name="x">Values whose last axis has <see cref="Size"/> positions.</param>
    /// <returns>A tensor of the same shape.</returns>
    public Tensor Apply(Tensor x)
    {
        using var scope = NewDisposeScope();
        var result = x;
        var rest = Size;
        foreach (var factor in factors)
        {
            var length = factor.shape[0];
            rest /= (int)length;
            var matrix = factor.to(x.dtype, x.device);
            result = rest == 1 ? result.reshape(-1, length).matmul(matrix) : matrix.matmul(result.reshape(-1, length, rest));
        }

        return result.reshape(x.shape).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var factor in factors)
        {
            factor.Dispose();
        }
    }

    private static Tensor Matrix(int size, Func<int, int, double> entry)
    {
        var values = new double[size * size];
        var norm = Math.Sqrt(size);
        for (var i = 0; i < values.Length; i++)
        {
            values[i] = entry(i / size, i % size) / norm;
        }

        return tensor(values, size, size).DetachFromDisposeScope();
    }
}
