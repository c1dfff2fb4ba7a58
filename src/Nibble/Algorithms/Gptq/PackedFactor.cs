using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Nibble.Numerics;

namespace Nibble.Algorithms;

/// <summary>The upper triangle of R in tiles of four columns, in the order in which kernels read it.</summary>
/// <remarks>
/// Tile t holds columns 4t to 4t + 3, and of these the rows 0 to 4t + 3, row by row. In most models, rows of the full matrix are a power of two apart,
/// so the elements of a column would compete for a few cache lines.
/// </remarks>
internal sealed unsafe class PackedFactor : IDisposable
{
    /// <summary>Columns in a tile.</summary>
    public const int Width = 4;

    /// <summary>Columns that one task packs, in whole cache lines of the source.</summary>
    private const int Strip = 64;

    private readonly float* tiles;

    public PackedFactor(HessianFactor factor, ParallelOptions parallel)
    {
        var columns = factor.Columns;
        var count = (columns + Width - 1) / Width;
        tiles = (float*)NativeMemory.AlignedAlloc((nuint)TileOffset(count) * sizeof(float), 64);
        Diagonal = new float[columns];
        InverseDiagonal = new float[columns];
        for (var i = 0; i < columns; i++)
        {
            Diagonal[i] = factor.Values[i, i];
            InverseDiagonal[i] = 1 / Diagonal[i];
        }

        Parallel.For(0, (columns + Strip - 1) / Strip, parallel, strip => Pack(factor.Values, strip * Strip, Math.Min((strip + 1) * Strip, columns)));
    }

    /// <summary>The first tile.</summary>
    public float* Tiles => tiles;

    /// <summary>The diagonal of R.</summary>
    public float[] Diagonal { get; }

    /// <summary>The reciprocal of each element of R's diagonal.</summary>
    public float[] InverseDiagonal { get; }

    /// <summary>The offset of a tile.</summary>
    public static long TileOffset(int tile) => (long)tile * (tile + 1) * (Width * Width / 2);

    public void Dispose() => NativeMemory.AlignedFree(tiles);

    private void Pack(SquareMatrix values, int first, int end)
    {
        var columns = values.Size;
        for (var row = 0; row < end; row++)
        {
            var source = values.Row(row);
            for (var column = Math.Max(first, row / Width * Width); column < end; column += Width)
            {
                var target = tiles + TileOffset(column / Width) + ((long)row * Width);
                if (row <= column && column + Width <= columns)
                {
                    Vector128.LoadUnsafe(in source[column]).Store(target);
                    continue;
                }

                for (var i = 0; i < Width; i++)
                {
                    target[i] = column + i >= row && column + i < columns ? source[column + i] : 0;
                }
            }
        }
    }
}
