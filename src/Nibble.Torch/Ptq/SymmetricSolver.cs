using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace Nibble.Torch.Ptq;

/// <summary>Solves <c>A X = B</c> for a symmetric positive definite A, even if A has more elements than LAPACK can address.</summary>
/// <remarks>
/// libtorch's LAPACK uses 32-bit indices, so it cannot handle a matrix of more than 46,340 rows. Such a matrix is factored here a few thousand columns at a
/// time, by Cholesky factorization of diagonal blocks and matrix products for the rest. None of these is too large for LAPACK.
/// </remarks>
internal static class SymmetricSolver
{
    private const int BlockLength = 4096;

    /// <summary>Solves the system.</summary>
    /// <param name="a">[n, n], symmetric positive definite. Its memory may be overwritten.</param>
    /// <param name="b">[n, m].</param>
    /// <exception cref="NibbleException">A cannot be factored.</exception>
    public static Tensor Solve(Tensor a, Tensor b) => a.numel() <= int.MaxValue ? linalg.solve(a, b) : SolveInBlocks(a, b, BlockLength);

    /// <summary>Solves the system in blocks.</summary>
    /// <param name="a">[n, n], symmetric positive definite. Its memory is overwritten.</param>
    /// <param name="b">[n, m].</param>
    /// <param name="length">Columns per block.</param>
    internal static Tensor SolveInBlocks(Tensor a, Tensor b, int length)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var size = a.shape[0];
        var x = b.clone();
        Factor(a, length);

        // L Y = B, then L^T X = Y.
        for (var start = 0L; start < size; start += length)
        {
            using var inner = NewDisposeScope();
            var count = Math.Min(length, size - start);
            var part = x.narrow(0, start, count);
            part.copy_(linalg.solve_triangular(Block(a, start, count, start, count), part, upper: false));
            if (start + count < size)
            {
                x.narrow(0, start + count, size - start - count).addmm_(Block(a, start + count, size - start - count, start, count), part, 1, -1);
            }
        }

        for (var start = (size - 1) / length * length; start >= 0; start -= length)
        {
            using var inner = NewDisposeScope();
            var count = Math.Min(length, size - start);
            var part = x.narrow(0, start, count);
            if (start + count < size)
            {
                part.addmm_(Block(a, start + count, size - start - count, start, count).t(), x.narrow(0, start + count, size - start - count), 1, -1);
            }

            part.copy_(linalg.solve_triangular(Block(a, start, count, start, count).t(), part, upper: true));
        }

        return x.MoveToOuterDisposeScope();
    }

    /// <summary>Replaces the lower triangle of A by L with <c>A = L L^T</c>.</summary>
    private static void Factor(Tensor a, int length)
    {
        var size = a.shape[0];
        for (var start = 0L; start < size; start += length)
        {
            using var scope = NewDisposeScope();
            var count = Math.Min(length, size - start);
            var diagonal = Block(a, start, count, start, count);
            try
            {
                diagonal.copy_(linalg.cholesky(diagonal));
            }
            catch (ExternalException exception)
            {
                throw new NibbleException(
                    $"The second moments of {size} inputs are not positive definite. Use more dampening or other calibration data.", exception);
            }

            var below = size - start - count;
            if (below == 0)
            {
                continue;
            }

            // L21 L11^T = A21, then update the remaining blocks of columns.
            var column = Block(a, start + count, below, start, count);
            column.copy_(linalg.solve_triangular(diagonal, column.t(), upper: false).t());
            for (var next = start + count; next < size; next += length)
            {
                using var inner = NewDisposeScope();
                var width = Math.Min(length, size - next);
                Block(a, next, size - next, next, width).addmm_(Block(a, next, size - next, start, count), Block(a, next, width, start, count).t(), 1, -1);
            }
        }
    }

    private static Tensor Block(Tensor a, long row, long rows, long column, long columns) => a.narrow(0, row, rows).narrow(1, column, columns);
}
