using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using Nibble.Numerics;
using Nibble.Observers;
using Nibble.Onnx.Engine;
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
    /// <param name="folder">A folder for temporary files.</param>
    /// <param name="progress">Takes the number of samples so far.</param>
    /// <param name="cancellation">Stops the run.</param>
    /// <returns>A range for each value, and the number of samples.</returns>
    /// <exception cref="NibbleException">There are no samples, or a value was never finite.</exception>
    public static (IReadOnlyDictionary<string, ValueRange> Ranges, int Samples) Run(
        OnnxGraph graph,
        IReadOnlyList<string> values,
        IEnumerable<IReadOnlyCollection<NamedOnnxValue>> samples,
        OnnxQuantizationOptions options,
        string folder,
        IProgress<int>? progress,
        CancellationToken cancellation)
    {
        var observers = values.ToDictionary(value => value, _ => Observer.Create(options.Ranges), StringComparer.Ordinal);
        var inputs = graph.Inputs.Select(input => input.Name).ToHashSet(StringComparer.Ordinal);
        var computed = values.Where(value => !inputs.Contains(value)).ToList();
        var count = 0;
        using (var session = new StatefulSession(ProbedGraph.Open(graph, computed, folder), options))
        {
            // ONNX Runtime refuses a run without outputs. Inputs may be all that is watched.
            IReadOnlyList<string> requested = computed.Count > 0 ? computed : session.Outputs;
            foreach (var sample in samples)
            {
                cancellation.ThrowIfCancellationRequested();
                using var outputs = session.Run(sample, requested);
                foreach (var value in outputs.Concat(sample).Where(value => observers.ContainsKey(value.Name)))
                {
                    observers[value.Name].Observe(((DenseTensor<float>)value.AsTensor<float>()).Buffer.Span);
                }

                // What the state becomes is what the next run reads. The zeros of the first run are in every range.
                foreach (var (input, output) in options.States.Where(state => observers.ContainsKey(state.Input)))
                {
                    observers[input].Observe(((DenseTensor<float>)outputs.First(value => value.Name == output).AsTensor<float>()).Buffer.Span);
                }

                count++;
                progress?.Report(count);
            }
        }

        return count == 0 ? throw new NibbleException("There are no samples to calibrate on.")
            : (observers.ToDictionary(pair => pair.Key, pair => RangeOf(pair.Key, pair.Value), StringComparer.Ordinal), count);
    }

    private static ValueRange RangeOf(string value, IObserver observer) => observer.Count > 0 ? observer.Range(ByteGrid.Scheme)
        : observer.NonFiniteCount > 0 ? throw new NibbleException($"The value '{value}' was never finite while the model ran on the calibration data.")
        : default;
}
