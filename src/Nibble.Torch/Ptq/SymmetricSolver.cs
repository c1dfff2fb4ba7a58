using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace Nibble.Torch.Ptq;

/// <summary>Solves <c>A X = B</c> for a symmetric positive definite A, also where A has more elements than LAPACK can count.</summary>
/// <remarks>
/// libtorch's LAPACK counts in 32 bits, so that a matrix of more than 46,340 rows is beyond it. Such a matrix is factored here a few thousand
/// columns at a time, by the Cholesky factorization of blocks on the diagonal and matrix products of the rest, none of which is larger than
/// LAPACK can count.
/// </remarks>
internal static class SymmetricSolver
{
    private const int BlockLength = 4096;

    /// <summary>Solves.</summary>
    /// <param name="a">[n, n], symmetric positive definite; its memory may be reused.</param>
    /// <param name="b">[n, m].</param>
    /// <exception cref="NibbleException">A cannot be factored.</exception>
    public static Tensor Solve(Tensor a, Tensor b) => a.numel() <= int.MaxValue ? linalg.solve(a, b) : SolveInBlocks(a, b, BlockLength);

    /// <summary>Solves in blocks.</summary>
    /// <param name="a">[n, n], symmetric positive definite; its memory is reused.</param>
    /// <param name="b">[n, m].</param>
    /// <param name="length">Columns of a block.</param>
    internal static Tensor SolveInBlocks(Tensor a, Tensor b, int length)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var size = a.shape[0];
        var x = b.clone();
        Factor(a, length);

        // L Y = B, and then L^T X = Y.
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
                    $"The second moments of {size} inputs are not positive definite; use more dampening or other calibration data.", exception);
            }

            var below = size - start - count;
            if (below == 0)
            {
                continue;
            }

            // L21 L11^T = A21, and then what is left of each block of columns behind.
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
