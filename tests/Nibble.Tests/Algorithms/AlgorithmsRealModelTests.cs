using Nibble.Formats.HuggingFace;
using Nibble.Numerics;
using Nibble.Tests.Shared;
using HalfQuadratic = Nibble.Algorithms.Hqq;
using Iw = Nibble.Algorithms.ImportanceWeighted;
using Rtn = Nibble.Algorithms.RoundToNearest;

namespace Nibble.Tests.Algorithms;

/// <summary>Errors on the linear layers of a trained model, compared with min-max round to nearest layer by layer.</summary>
public class AlgorithmsRealModelTests
{
    [Theory]
    [InlineData(4, 0.9)]
    [InlineData(3, 0.85)]
    public void Stories260KImportanceWeightingLowersTheWeightedErrorOfEveryLayer(int bits, double factor)
    {
        // Mean squares of inputs differ by orders of magnitude between channels.
        var importances = Enumerable.Range(0, 172).Select(i => MathF.Exp(2 * MathF.Sin(i * i))).ToArray();
        ForEachLayer((name, weights, rows, columns) =>
        {
            var importance = importances[..columns];
            var (found, minMax) = (Iw.Quantize(weights, rows, columns, Scheme(bits), importance), Rtn.Quantize(weights, rows, columns, Scheme(bits)));
            Assert.True(Error(found) < factor * Error(minMax), $"{name}: {Error(found) / Error(minMax)}");

            double Error(QuantizedTensor tensor) => tensor.Dequantize().Select((value, i) => importance[i % columns] * Math.Pow(value - weights[i], 2)).Sum();
        });
    }

    [Theory]
    [InlineData(4)]
    [InlineData(3)]
    public void Stories260KHalfQuadraticLowersItsObjectiveAndTheSquaredErrorOfEveryLayer(int bits) =>
        ForEachLayer((name, weights, rows, columns) =>
        {
            var (found, minMax) = (HalfQuadratic.Quantize(weights, rows, columns, Scheme(bits)), Rtn.Quantize(weights, rows, columns, Scheme(bits)));
            Assert.True(Error(found, 0.7) < Error(minMax, 0.7), name);
            Assert.True(Error(found, 2) < Error(minMax, 2), name);

            double Error(QuantizedTensor tensor, double norm) => tensor.Dequantize().Select((value, i) => Math.Pow(Math.Abs(value - weights[i]), norm)).Sum();
        });

    private static QuantizationScheme Scheme(int bits) => new(bits, symmetric: false, Granularity.Group(32)) { ScalePrecision = ScalePrecision.Float16 };

    private static void ForEachLayer(Action<string, float[], int, int> assert)
    {
        using var checkpoint = Checkpoint.Open(SharedData.Require("stories260K"));
        var layers = checkpoint.TensorNames.Where(name => name.EndsWith("_proj.weight", StringComparison.Ordinal)).ToArray();
        Assert.Equal(35, layers.Length);
        foreach (var name in layers)
        {
            var shape = checkpoint.Entry(name).Shape;
            assert(name, checkpoint.ReadFloats(name), (int)shape[0], (int)shape[1]);
        }
    }
}
