namespace Nibble.Numerics;

/// <summary>A square matrix of binary32, row by row, which may have more elements than one array can hold.</summary>
/// <remarks>An array ends at 46,340 rows and columns, and layers of 53,248 inputs exist.</remarks>
public sealed class SquareMatrix
{
    /// <summary>Elements of a block where there is more than one: 1 GiB.</summary>
    internal const long BlockElements = 1L << 28;

    private readonly float[][] blocks;

    /// <summary>Makes a matrix of zeros.</summary>
    /// <param name="size">Rows, and columns, at least 1.</param>
    public SquareMatrix(int size)
        : this(size, (long)size * size <= Array.MaxLength ? (long)size * size : BlockElements)
    {
    }

    /// <summary>Takes in a matrix, which is kept and not copied.</summary>
    /// <param name="size">Rows, and columns, at least 1.</param>
    /// <param name="values">Its elements, row by row: <paramref name="size"/> x <paramref name="size"/>.</param>
    /// <exception cref="ArgumentException">The number of elements is another.</exception>
    public SquareMatrix(int size, float[] values)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(size, 1);
        ArgumentNullException.ThrowIfNull(values);
        if (values.Length != (long)size * size)
        {
            throw new ArgumentException($"{nameof(values)} has {values.Length} values, expected {(long)size * size}.", nameof(values));
        }

        Size = size;
        BlockRows = size;
        blocks = [values];
    }

    /// <summary>Makes a matrix of zeros in blocks of whole rows.</summary>
    /// <param name="size">Rows, and columns.</param>
    /// <param name="blockElements">The most elements of a block, but for a block of one row.</param>
    internal SquareMatrix(int size, long blockElements)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(size, 1);
        Size = size;
        BlockRows = RowsOfBlock(size, blockElements);
        blocks = new float[(size + BlockRows - 1) / BlockRows][];
        for (var i = 0; i < blocks.Length; i++)
        {
            blocks[i] = new float[Math.Min(BlockRows, size - (i * BlockRows)) * size];
        }
    }

    /// <summary>Whole rows of a matrix that are the most of a block.</summary>
    internal static int RowsOfBlock(int size, long blockElements) => (int)Math.Clamp(blockElements / size, 1, size);

    /// <summary>Rows, and columns.</summary>
    public int Size { get; }

    /// <summary>Blocks of consecutive rows in which the matrix lies.</summary>
    public int BlockCount => blocks.Length;

    /// <summary>Rows of a block; the last may have fewer.</summary>
    public int BlockRows { get; }

    /// <summary>An element.</summary>
    public ref float this[int row, int column] => ref Row(row)[column];

    /// <summary>The elements of a row.</summary>
    public Span<float> Row(int row) => blocks[row / BlockRows].AsSpan(row % BlockRows * Size, Size);

    /// <summary>A matrix of the same elements.</summary>
    internal SquareMatrix Copy()
    {
        var copy = new SquareMatrix(Size);
        for (var row = 0; row < Size; row++)
        {
            Row(row).CopyTo(copy.Row(row));
        }

        return copy;
    }

    /// <summary>The rows of a block, one after the other.</summary>
    public Span<float> Block(int index) => blocks[index];
}
