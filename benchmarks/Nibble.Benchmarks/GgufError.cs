using System.Globalization;
using Nibble.Formats.Gguf;

namespace Nibble.Benchmarks;

/// <summary>Prints how much squared error a quantized GGUF file has, as a share of the squares of its matrices.</summary>
internal static class GgufError
{
    /// <summary>Arguments: the float file, the quantized one, and an importance matrix where errors are to be weighted; matrices that it does not know are left
    /// out then.</summary>
    public static void Run(string[] arguments)
    {
        using var source = GgufFile.Open(arguments[0]);
        using var quantized = GgufFile.Open(arguments[1]);
        var importance = arguments.Length > 2 ? ImportanceMatrix.Read(arguments[2]) : null;
        var (error, squares) = (0d, 0d);
        foreach (var tensor in source.Tensors.Where(tensor => tensor.Rows > 1 && (importance is null || importance.Entries.ContainsKey(tensor.Name))))
        {
            var columns = importance?.Entries[tensor.Name].Squares;
            var (expected, found) = (source.ReadFloats(tensor), quantized.ReadFloats(quantized.FindTensor(tensor.Name)!));
            for (var i = 0; i < expected.Length; i++)
            {
                var weight = columns is null ? 1 : columns[i % columns.Length];
                error += weight * Math.Pow(expected[i] - (double)found[i], 2);
                squares += weight * Math.Pow(expected[i], 2);
            }
        }

        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{error / squares:E3}"));
    }
}
