using Nibble.Numerics;

namespace Nibble.Tests.Numerics;

public class SquareMatrixTests
{
    [Theory]
    [InlineData(1, 1)]
    [InlineData(5, 1)]
    [InlineData(5, 12)]
    [InlineData(5, 25)]
    [InlineData(7, 22)]
    public void RowsLieInBlocks(int size, long blockElements)
    {
        var matrix = new SquareMatrix(size, blockElements);
        for (var row = 0; row < size; row++)
        {
            for (var column = 0; column < size; column++)
            {
                matrix[row, column] = (row * size) + column;
            }
        }

        Assert.Equal(
            Enumerable.Range(0, size * size).Select(value => (float)value),
            Enumerable.Range(0, matrix.BlockCount).SelectMany(block => matrix.Block(block).ToArray()));
        Assert.All(Enumerable.Range(0, size), row => Assert.Equal(Enumerable.Range(row * size, size).Select(value => (float)value), matrix.Row(row).ToArray()));
        Assert.All(Enumerable.Range(0, matrix.BlockCount), block => Assert.InRange(matrix.Block(block).Length, 1, Math.Max(blockElements, size)));
    }

    [Theory]
    [InlineData(46_341)]
    [InlineData(53_248)]
    [InlineData(1_000_000)]
    public void BlocksOfLargeMatricesAreArrays(int size)
    {
        var rows = SquareMatrix.RowsOfBlock(size, SquareMatrix.BlockElements);
        Assert.InRange((long)rows * size, 1, SquareMatrix.BlockElements);
        Assert.True((long)(rows + 1) * size > SquareMatrix.BlockElements);

        // What Row computes for the last row of a block.
        Assert.Equal((long)(rows - 1) * size, (rows - 1) * size);
    }

    [Fact]
    public void OneArrayIsKept()
    {
        float[] values = [1, 2, 3, 4];
        var matrix = new SquareMatrix(2, values);
        matrix[1, 0] = 7;
        Assert.Equal([1, 2, 7, 4], values);
        Assert.Equal((1, 2), (matrix.BlockCount, matrix.BlockRows));
        Assert.Equal(1, new SquareMatrix(3).BlockCount);
        Assert.Throws<ArgumentException>(() => new SquareMatrix(2, [1, 2, 3]));
        Assert.Throws<ArgumentOutOfRangeException>(() => new SquareMatrix(0));
    }
}
