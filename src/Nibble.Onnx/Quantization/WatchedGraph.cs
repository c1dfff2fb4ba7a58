using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using Nibble.Onnx.Engine;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Quantization;

/// <summary>Takes the numbers of a value in one run.</summary>
/// <param name="value">The value's name.</param>
/// <param name="numbers">Its numbers, which are gone afterwards.</param>
internal delegate void ValueWatcher(string value, ReadOnlySpan<float> numbers);

/// <summary>Runs samples through a float graph and shows values from its inside. Nothing is kept.</summary>
internal static class WatchedGraph
{
    /// <summary>Runs samples.</summary>
    /// <param name="graph">The float graph. It is not changed.</param>
    /// <param name="values">The values to show: inputs, or what nodes compute.</param>
    /// <param name="samples">The samples.</param>
    /// <param name="options">The states, and the sizes of inputs.</param>
    /// <param name="folder">A folder for temporary files.</param>
    /// <param name="watch">Takes each value in each run.</param>
    /// <param name="progress">Takes the number of samples so far.</param>
    /// <param name="cancellation">Stops the run.</param>
    /// <returns>The number of samples.</returns>
    /// <exception cref="NibbleException">There are no samples, or one does not fit the model.</exception>
    public static int Run(
        OnnxGraph graph,
        IReadOnlyCollection<string> values,
        IEnumerable<IReadOnlyCollection<NamedOnnxValue>> samples,
        OnnxQuantizationOptions options,
        string folder,
        ValueWatcher watch,
        IProgress<int>? progress,
        CancellationToken cancellation)
    {
        var watched = values.ToHashSet(StringComparer.Ordinal);
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
                foreach (var value in outputs.Concat(sample).Where(value => watched.Contains(value.Name)))
                {
                    watch(value.Name, Numbers(value));
                }

                // What the state becomes is what the next run reads. The first one reads zeros.
                foreach (var (input, output) in options.States.Where(state => watched.Contains(state.Input)))
                {
                    watch(input, Numbers(outputs.First(value => value.Name == output)));
                }

                count++;
                progress?.Report(count);
            }
        }

        return count == 0 ? throw new NibbleException("There are no samples to calibrate on.") : count;
    }

    private static ReadOnlySpan<float> Numbers(NamedOnnxValue value) => ((DenseTensor<float>)value.AsTensor<float>()).Buffer.Span;
}
