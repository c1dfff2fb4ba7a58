namespace Nibble.Numerics;

/// <summary>A square matrix of binary32, row by row. It can have more elements than one array can hold.</summary>
/// <remarks>One array holds at most 46,340 rows and columns, and some layers have 53,248 inputs.</remarks>
public sealed class SquareMatrix
{
    /// <summary>Elements of a block if there is more than one: 1 GiB.</summary>
    internal const long BlockElements = 1L << 28;

    private readonly float[][] blocks;

    /// <summary>Creates a matrix of zeros.</summary>
    /// <param name="size">The number of rows and of columns, at least 1.</param>
    public SquareMatrix(int size)
        : this(size, (long)size * size <= Array.MaxLength ? (long)size * size : BlockElements)
    {
    }

    /// <summary>Creates a matrix from values. The array is kept, not copied.</summary>
    /// <param name="size">The number of rows and of columns, at least 1.</param>
    /// <param name="values">Its elements, row by row: <paramref name="size"/> x <paramref name="size"/>.</param>
    /// <exception cref="ArgumentException">The number of elements does not match the size.</exception>
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

    /// <summary>Creates a matrix of zeros in blocks of whole rows.</summary>
    /// <param name="size">The number of rows and of columns.</param>
    /// <param name="blockElements">The most elements of a block. A block of one row may have more.</param>
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

    /// <summary>The number of whole rows that fit in a block, at least 1.</summary>
    internal static int RowsOfBlock(int size, long blockElements) => (int)Math.Clamp(blockElements / size, 1, size);

    /// <summary>The number of rows and of columns.</summary>
    public int Size { get; }

    /// <summary>The number of blocks of consecutive rows.</summary>
    public int BlockCount => blocks.Length;

    /// <summary>Rows of a block. The last block may have fewer.</summary>
    public int BlockRows { get; }

    /// <summary>An element.</summary>
    public ref float this[int row, int column] => ref Row(row)[column];

    /// <summary>The elements of a row.</summary>
    public Span<float> Row(int row) => blocks[row / BlockRows].AsSpan(row % BlockRows * Size, Size);

    /// <summary>Copies the matrix.</summary>
    internal SquareMatrix Copy()
    {
        var copy = new SquareMatrix(Size);
        for (var row = 0; row < Size; row++)
        {
            Row(row).CopyTo(copy.Row(row));
        }

        return copy;
    }

    /// <summary>The rows of a block, one after another.</summary>
    public Span<float> Block(int index) => blocks[index];
}
