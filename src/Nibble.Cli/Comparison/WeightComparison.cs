using Nibble.Artifacts;
using Nibble.Cli.Report;
using Nibble.Torch.Models;

namespace Nibble.Cli.Comparison;

/// <summary>Compares quantized weights with the original ones.</summary>
internal static class WeightComparison
{
    private const int Bins = 64;

    /// <summary>The relative squared error of every quantized layer.</summary>
    public static IReadOnlyList<LayerError> Errors(LoadedModel original, QuantizedModel quantized)
    {
        var linears = original.Model.Layers.ToDictionary();

        // A head that was tied to the embedding has no original matrix to compare with.
        return
        [
            .. quantized.Layers.Where(layer => linears.ContainsKey(layer.Name))
                .Select(layer =>
                    new LayerError(layer.Name, RelativeSquaredError(linears[layer.Name].Weight.data<float>().ToArray(), layer.Weight.Dequantize()))),
        ];
    }

    /// <summary>The weights of the layer in the middle of the model before and after quantization, as an example of all layers.</summary>
    public static IReadOnlyList<WeightHistogram> Histograms(LoadedModel original, QuantizedModel quantized)
    {
        var layer = quantized.Layers[quantized.Layers.Count / 2];
        var before = original.Model.Layers.ToDictionary()[layer.Name].Weight.data<float>().ToArray();
        var after = layer.Weight.Dequantize();
        double min = Math.Min(before.Min(), after.Min());
        double max = Math.Max(before.Max(), after.Max());
        if (max <= min)
        {
            return [];
        }

        var width = (max - min) / Bins;
        var edges = Enumerable.Range(0, Bins + 1).Select(i => min + (i * width)).ToList();
        return [new WeightHistogram(layer.Name, edges, Count(before, min, width), Count(after, min, width))];
    }

    /// <summary>Stored bits per quantized weight, including its share of scales and zero points.</summary>
    public static double BitsPerWeight(QuantizedModel quantized) =>
        8d * quantized.Layers.Sum(layer => layer.Weight.StoredBytes) / quantized.Layers.Sum(layer => (long)layer.Weight.Codes.Length);

    private static double RelativeSquaredError(float[] original, float[] quantized)
    {
        double error = 0, energy = 0;
        for (var i = 0; i < original.Length; i++)
        {
            var difference = (double)original[i] - quantized[i];
            error += difference * difference;
            energy += (double)original[i] * original[i];
        }

        return energy > 0 ? error / energy : 0;
    }

    private static long[] Count(float[] values, double min, double width)
    {
        var counts = new long[Bins];
        foreach (var value in values)
        {
            counts[Math.Clamp((int)((value - min) / width), 0, Bins - 1)]++;
        }

        return counts;
    }
}
