using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Nibble.Numerics;

namespace Nibble.Algorithms;

/// <summary>Factors a symmetric positive definite matrix as <c>H = R R^T</c> with an upper-triangular R, with the kernels of GPTQ.</summary>
/// <remarks>
/// With rows and columns in reverse this is the standard Cholesky factor, <c>M = L L^T</c> with <c>M_ij = H_(n-1-i)(n-1-j)</c> and
/// <c>L_ij = R_(n-1-i)(n-1-j)</c>. A panel of rows of L follows from the rows above as a weight's errors follow from the columns before: with the same
/// sums over the same tiles, where a tile holds four rows of L. Sums are chains of fused multiply-adds in one order, whatever the number of threads and
/// the instruction set.
/// </remarks>
internal sealed unsafe class Cholesky : IDisposable
{
    private const int Rows = IGptqKernel.Rows;
    private const int TileWidth = PackedFactor.Width;

    /// <summary>Columns of a block: whole panels and whole tiles.</summary>
    private const int BlockLength = 5 * Rows;

    /// <summary>Columns that are summed at a time, as in <see cref="GptqProblem"/>.</summary>
    private const int StretchLength = 256;

    private readonly IGptqKernel kernel = GptqKernels.Active;
    private readonly SquareMatrix matrix;
    private readonly int size;
    private readonly int panels;
    private readonly float* tiles;
    private readonly float* rows;
    private readonly float[] inverseDiagonal;

    private Cholesky(SquareMatrix matrix)
    {
        this.matrix = matrix;
        size = matrix.Size;
        panels = (size + Rows - 1) / Rows;
        inverseDiagonal = new float[size];

        // Panel p has p + 1 squares of 24 x 24, tile t has t + 1 squares of 4 x 4.
        tiles = (float*)NativeMemory.AlignedAlloc((nuint)PackedFactor.TileOffset(panels * Rows / TileWidth) * sizeof(float), 64);
        rows = (float*)NativeMemory.AlignedAlloc((nuint)PanelOffset(panels) * sizeof(float), 64);
    }

    /// <summary>Replaces the upper triangle of a matrix with R. The elements below the diagonal do not change.</summary>
    /// <param name="matrix">H. Only its upper triangle is read.</param>
    /// <param name="parallel">The number of threads to use.</param>
    /// <returns>Whether H is positive definite. If not, the upper triangle is lost.</returns>
    public static bool Factor(SquareMatrix matrix, ParallelOptions parallel)
    {
        using var cholesky = new Cholesky(matrix);
        var size = matrix.Size;
        for (var start = 0; start < size; start += BlockLength)
        {
            if (!cholesky.FactorBlock(start, Math.Min(start + BlockLength, size), parallel))
            {
                return false;
            }
        }

        return true;
    }

    public void Dispose()
    {
        NativeMemory.AlignedFree(tiles);
        NativeMemory.AlignedFree(rows);
    }

    private static long PanelOffset(int panel) => (long)panel * (panel + 1) / 2 * Rows * Rows;

    /// <summary>Factors the columns of a block, in all rows from the block's first row on.</summary>
    private bool FactorBlock(int start, int end, ParallelOptions parallel)
    {
        var firstPanel = start / Rows;
        var afterPanel = (end + Rows - 1) / Rows;
        var stride = BlockLength * Rows;
        var diagonalSums = (float*)NativeMemory.AlignedAlloc((nuint)(stride * (afterPanel - firstPanel) * sizeof(float)), 64);
        try
        {
            Parallel.For(firstPanel, afterPanel, parallel,
                panel => Gather(panel, start, Math.Min((panel + 1) * Rows, size), diagonalSums + ((panel - firstPanel) * stride)));
            for (var panel = firstPanel; panel < afterPanel; panel++)
            {
                if (!FactorDiagonal(panel, start, diagonalSums + ((panel - firstPanel) * stride)))
                {
                    return false;
                }
            }
        }
        finally
        {
            NativeMemory.AlignedFree(diagonalSums);
        }

        Parallel.For(
            afterPanel,
            panels,
            parallel,
            () => (nint)NativeMemory.AlignedAlloc((nuint)(stride * sizeof(float)), 64),
            (panel, _, memory) =>
            {
                var sums = (float*)memory;
                Gather(panel, start, end, sums);
                Solve(panel, start, end, sums);
                Store(panel, start, end);
                return memory;
            },
            memory => NativeMemory.AlignedFree((void*)memory));
        return true;
    }

    /// <summary>Factors the rows of a panel that are on the diagonal.</summary>
    private bool FactorDiagonal(int panel, int start, float* sums)
    {
        var first = panel * Rows;
        var end = Math.Min(first + Rows, size);
        Solve(panel, start, first, sums);
        CopyToTiles(panel, start, first);
        var square = sums + ((long)(first - start) * Rows);
        kernel.Accumulate(tiles, first / TileWidth, (end + TileWidth - 1) / TileWidth, start, first, Panel(panel), square);
        for (var column = first; column < end; column++)
        {
            var pivotRow = column - first;
            var sum = square + (pivotRow * Rows);
            var pivot = sum[pivotRow];
            if (!(pivot > 0) || !float.IsFinite(pivot))
            {
                return false;
            }

            var inverse = 1 / MathF.Sqrt(pivot);
            inverseDiagonal[column] = inverse;
            var target = Panel(panel) + ((long)column * Rows);
            for (var row = 0; row < Rows; row++)
            {
                target[row] = row < pivotRow ? 0 : sum[row] * -inverse;
            }

            for (var other = pivotRow + 1; other < end - first; other++)
            {
                var factor = Vector256.Create(-target[other]);
                var otherSum = square + (other * Rows);
                for (var row = 0; row < Rows; row += Vector256<float>.Count)
                {
                    Vector256.FusedMultiplyAdd(factor, Vector256.Load(target + row), Vector256.Load(otherSum + row)).Store(otherSum + row);
                }
            }
        }

        CopyToTiles(panel, first, end);
        CopyToMatrix(panel, start, end);
        return true;
    }

    /// <summary>Reads the columns of a block and subtracts the contribution of the columns before it.</summary>
    private void Gather(int panel, int start, int end, float* sums)
    {
        var endTile = (end + TileWidth - 1) / TileWidth;
        new Span<float>(sums, ((endTile * TileWidth) - start) * Rows).Clear();
        for (var row = 0; row < Rows && (panel * Rows) + row < size; row++)
        {
            // M's row r is H's row n - 1 - r, read backwards.
            var source = matrix.Row(size - 1 - ((panel * Rows) + row));
            for (var column = start; column < Math.Min(end, (panel * Rows) + row + 1); column++)
            {
                sums[((column - start) * Rows) + row] = source[size - 1 - column];
            }
        }

        for (var from = 0; from < start; from += StretchLength)
        {
            kernel.Accumulate(tiles, start / TileWidth, endTile, from, Math.Min(from + StretchLength, start), Panel(panel), sums);
        }
    }

    /// <summary>Solves columns of L whose own rows are already known.</summary>
    private void Solve(int panel, int start, int end, float* sums)
    {
        var spread = new ColumnSpread(kernel, tiles, Panel(panel), sums, start, end);
        for (var column = start; column < end; column++)
        {
            var inverse = Vector256.Create(-inverseDiagonal[column]);
            var sum = spread.SumsOf(column);
            var target = Panel(panel) + ((long)column * Rows);
            for (var row = 0; row < Rows; row += Vector256<float>.Count)
            {
                (Vector256.Load(sum + row) * inverse).Store(target + row);
            }

            spread.Done(column);
        }
    }

    private void Store(int panel, int start, int end)
    {
        CopyToTiles(panel, start, end);
        CopyToMatrix(panel, start, end);
    }

    private void CopyToTiles(int panel, int start, int end)
    {
        var source = Panel(panel);
        for (var row = 0; row < Rows; row += TileWidth)
        {
            var tile = tiles + PackedFactor.TileOffset(((panel * Rows) + row) / TileWidth);
            for (var column = start; column < Math.Min(end, (panel * Rows) + row + TileWidth); column++)
            {
                (-Vector128.Load(source + ((long)column * Rows) + row)).Store(tile + ((long)column * TileWidth));
            }
        }
    }

    private void CopyToMatrix(int panel, int start, int end)
    {
        for (var row = 0; row < Rows && (panel * Rows) + row < size; row++)
        {
            var source = Panel(panel) + row;
            var target = matrix.Row(size - 1 - ((panel * Rows) + row));
            for (var column = start; column < Math.Min(end, (panel * Rows) + row + 1); column++)
            {
                target[size - 1 - column] = -source[(long)column * Rows];
            }
        }
    }

    /// <summary>The negative rows of L of a panel, column by column.</summary>
    private float* Panel(int panel) => rows + PanelOffset(panel);
}
