namespace Nibble.Onnx.Layers;

/// <summary>Rearranges matrices.</summary>
internal static class Matrices
{
    /// <summary>Turns rows into columns.</summary>
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
