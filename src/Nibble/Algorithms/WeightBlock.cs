using Nibble.Numerics;

namespace Nibble.Algorithms;

/// <summary>The weights that share a scale, in pinned memory: a part of one row, or the whole matrix.</summary>
/// <param name="start">The first weight.</param>
/// <param name="rows">Rows of the block: 1, or those of the whole matrix.</param>
/// <param name="firstColumn">The matrix column where the block begins.</param>
/// <param name="columns">Columns of the block; all columns of the matrix if the block has more than one row.</param>
/// <param name="range">The lowest and the highest weight.</param>
internal readonly unsafe struct WeightBlock(float* start, int rows, int firstColumn, int columns, ValueRange range)
{
    public int Rows => rows;

    public int FirstColumn => firstColumn;

    public int Columns => columns;

    public ValueRange Range => range;

    /// <summary>All weights, row by row. A block has no gaps.</summary>
    public ReadOnlySpan<float> Values => new(start, rows * columns);

    public ReadOnlySpan<float> Row(int row) => new(start + ((long)row * columns), columns);

    /// <summary>A part of one row of a block that is the whole matrix.</summary>
    public WeightBlock Part(int row, int column, int length, ValueRange partRange) => new(start + ((long)row * columns) + column, 1, column, length, partRange);
}
