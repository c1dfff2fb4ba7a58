using Nibble.Numerics;

namespace Nibble.Algorithms;

/// <summary>The weights that share a scale, in pinned memory: a part of one row, or all of all rows.</summary>
/// <param name="start">The first weight.</param>
/// <param name="rows">Rows of the block: 1, or those of the whole matrix.</param>
/// <param name="firstColumn">The matrix' column in which the block begins.</param>
/// <param name="columns">Columns of the block; all those of the matrix where there are more rows than 1.</param>
/// <param name="range">The lowest and the highest weight.</param>
internal readonly unsafe struct WeightBlock(float* start, int rows, int firstColumn, int columns, ValueRange range)
{
    public int Rows => rows;

    public int FirstColumn => firstColumn;

    public int Columns => columns;

    public ValueRange Range => range;

    /// <summary>All weights, row by row: a block has no gaps.</summary>
    public ReadOnlySpan<float> Values => new(start, rows * columns);

    public ReadOnlySpan<float> Row(int row) => new(start + ((long)row * columns), columns);

    /// <summary>A part of one row of a block that is the whole matrix.</summary>
    public WeightBlock Part(int row, int column, int length, ValueRange partRange) => new(start + ((long)row * columns) + column, 1, column, length, partRange);
}
