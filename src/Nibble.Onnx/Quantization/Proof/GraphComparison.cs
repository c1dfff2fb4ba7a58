using Microsoft.ML.OnnxRuntime;

namespace Nibble.Onnx.Quantization.Proof;

/// <summary>Runs two graphs on the same samples and compares what they compute.</summary>
internal static class GraphComparison
{
    /// <summary>Compares values of two graphs, over a new sequence.</summary>
    /// <param name="expected">The float graph.</param>
    /// <param name="found">The quantized graph.</param>
    /// <param name="values">The values to compare: outputs of both sessions.</param>
    /// <param name="samples">The samples.</param>
    /// <param name="cancellation">Stops the run.</param>
    /// <returns>The differences, in the order of the values, and the number of samples.</returns>
    /// <exception cref="NibbleException">The graphs give values of different types or shapes.</exception>
    public static (IReadOnlyList<OutputDifference> Differences, int Samples) Run(
        StatefulSession expected,
        StatefulSession found,
        IReadOnlyList<string> values,
        IEnumerable<IReadOnlyCollection<NamedOnnxValue>> samples,
        CancellationToken cancellation)
    {
        var sums = values.Select(value => new DifferenceSum(value)).ToList();
        var count = 0;
        expected.Reset();
        found.Reset();
        foreach (var sample in samples)
        {
            cancellation.ThrowIfCancellationRequested();
            using var x = expected.Run(sample, values);
            using var y = found.Run(sample, values);
            foreach (var (sum, (first, second)) in sums.Zip(x.Zip(y)))
            {
                sum.Add(first, second);
            }

            count++;
        }

        return ([.. sums.Select(sum => sum.Result())], count);
    }
}
