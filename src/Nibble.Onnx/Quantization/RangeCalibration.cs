using Microsoft.ML.OnnxRuntime;
using Nibble.Numerics;
using Nibble.Observers;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Quantization;

/// <summary>Runs samples through a float graph and watches the values that will be quantized. Nothing but the observers is kept.</summary>
internal static class RangeCalibration
{
    /// <summary>Measures ranges.</summary>
    /// <param name="graph">The float graph. It is not changed.</param>
    /// <param name="values">The values to watch.</param>
    /// <param name="samples">The samples.</param>
    /// <param name="options">How ranges are chosen, and the states.</param>
    /// <param name="model">The model of the graph.</param>
    /// <param name="progress">Takes the number of samples so far.</param>
    /// <param name="cancellation">Stops the run.</param>
    /// <returns>A range for each value, and the number of samples.</returns>
    /// <exception cref="NibbleException">There are no samples, or a value was never finite.</exception>
    public static (IReadOnlyDictionary<string, ValueRange> Ranges, int Samples) Run(
        OnnxGraph graph,
        IReadOnlyList<string> values,
        IEnumerable<IReadOnlyCollection<NamedOnnxValue>> samples,
        OnnxQuantizationOptions options,
        PreparedModel model,
        IProgress<int>? progress,
        CancellationToken cancellation)
    {
        var observers = values.ToDictionary(value => value, _ => Observer.Create(options.Ranges), StringComparer.Ordinal);
        var count = WatchedGraph.Run(
            graph, values, samples, options, model, (value, numbers) => observers[value].Observe(numbers), progress, cancellation);
        return (observers.ToDictionary(pair => pair.Key, pair => RangeOf(pair.Key, pair.Value), StringComparer.Ordinal), count);
    }

    private static ValueRange RangeOf(string value, IObserver observer) => observer.Count > 0 ? observer.Range(ByteGrid.Scheme)
        : observer.NonFiniteCount > 0 ? throw new NibbleException($"The value '{value}' was never finite while the model ran on the calibration data.")
        : default;
}
