namespace Nibble.Onnx.Layers;

/// <summary>Rearranges matrices.</summary>
internal static class Matrices
{
    /// <summary>Transposes a matrix.</summary>
    public static T[] Transpose<T>(ReadOnlySpan<T> values, int rows, int columns)
    {
        var result = new T[values.Length];
        for (var row = 0; row < rows; row++)
        {
            for (var column = 0; column < columns; column++)
            {
                result[(column * rows) + row] = values[(row * columns) + column];
            }
        }

        return result;
    }
}
