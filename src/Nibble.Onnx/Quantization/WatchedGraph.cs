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
/// <remarks>Where memory is limited, the samples run several times, each time for other values.</remarks>
internal static class WatchedGraph
{
    /// <summary>Runs samples.</summary>
    /// <param name="graph">The float graph. It is not changed.</param>
    /// <param name="values">The values to show: inputs, or what nodes compute.</param>
    /// <param name="samples">The samples.</param>
    /// <param name="options">The states, and the sizes of inputs.</param>
    /// <param name="model">The model of the graph: its folder takes temporary files, and its plan limits how many values are shown in one run.</param>
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
        PreparedModel model,
        ValueWatcher watch,
        IProgress<int>? progress,
        CancellationToken cancellation)
    {
        var watched = values.ToHashSet(StringComparer.Ordinal);
        var inputs = graph.Inputs.Select(input => input.Name).ToHashSet(StringComparer.Ordinal);
        var parts = model.Memory.Parts(values.Where(value => !inputs.Contains(value)));
        using var sessions = new ProbedParts(graph, parts, model.Folder);
        var count = 0;
        for (var part = 0; part < parts.Count; part++)
        {
            using var session = new StatefulSession(sessions.Open(part), options);

            // ONNX Runtime refuses a run without outputs. Inputs may be all that is watched.
            var requested = parts[part].Count > 0 ? parts[part] : session.Outputs;
            var shown = part == 0 ? watched : parts[part].ToHashSet(StringComparer.Ordinal);
            var before = part * count;
            count = 0;
            foreach (var sample in samples)
            {
                cancellation.ThrowIfCancellationRequested();
                using var outputs = session.Run(sample, requested);
                foreach (var value in outputs.Take(requested.Count).Concat(sample).Where(value => shown.Contains(value.Name)))
                {
                    watch(value.Name, Numbers(value));
                }

                // What the state becomes is what the next run reads. The first one reads zeros.
                foreach (var (input, output) in options.States.Where(state => shown.Contains(state.Input)))
                {
                    watch(input, Numbers(outputs.First(value => value.Name == output)));
                }

                count++;
                progress?.Report((before + count) / parts.Count);
            }
        }

        return count == 0 ? throw new NibbleException("There are no samples to calibrate on.") : count;
    }

    private static ReadOnlySpan<float> Numbers(NamedOnnxValue value) => ((DenseTensor<float>)value.AsTensor<float>()).Buffer.Span;
}
