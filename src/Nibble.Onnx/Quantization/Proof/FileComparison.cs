using Microsoft.ML.OnnxRuntime;
using Nibble.Onnx.Engine;

namespace Nibble.Onnx.Quantization.Proof;

/// <summary>A quantized file compared with the float file that it was made from.</summary>
/// <param name="Outputs">The differences of the outputs, computed as in a session without settings.</param>
/// <param name="Saturation">The differences of the quantized file's outputs from those with exact sums of products, on this processor.</param>
/// <param name="Samples">The number of samples.</param>
internal sealed record FileComparison(IReadOnlyList<OutputDifference> Outputs, IReadOnlyList<OutputDifference> Saturation, int Samples)
{
    /// <summary>Whether sums of products saturate on this processor, so that the file gives other answers on others.</summary>
    public bool Saturates => Saturation.Any(output =>
        output.NonFinite > 0 || (output.Largest is { } largest ? !(largest <= 0) : output.Agreement < 1));

    /// <summary>Whether all outputs that are finite in the float file are finite, and are close enough to it.</summary>
    /// <param name="limit">The largest relative error of an output. Null for any.</param>
    public bool IsWithin(double? limit) =>
        Outputs.All(output => output.NonFinite == 0 && (limit is null || output.RelativeError is not { } error || error <= limit));

    /// <summary>Runs both files.</summary>
    /// <param name="quantized">The quantized ONNX file.</param>
    /// <param name="single">The float ONNX file.</param>
    /// <param name="samples">The samples, without states.</param>
    /// <param name="options">The states, and the sizes of inputs that the model leaves free.</param>
    /// <param name="threads">The number of threads per node.</param>
    /// <param name="progress">Takes the number of samples so far.</param>
    /// <param name="cancellation">Stops the run.</param>
    /// <exception cref="NibbleException">
    /// A file is refused by ONNX Runtime, the files do not have the same inputs and outputs, there are no samples, or a sample does not fit.
    /// </exception>
    public static FileComparison Run(
        string quantized,
        string single,
        IEnumerable<IReadOnlyCollection<NamedOnnxValue>> samples,
        OnnxQuantizationOptions options,
        int threads,
        IProgress<int>? progress,
        CancellationToken cancellation)
    {
        using var expected = Open(single, isDefault: true);
        using var found = Open(quantized, isDefault: true);
        using var exact = Open(quantized, isDefault: false);
        RequireSame(single, expected, quantized, found);
        var values = expected.Outputs;
        var (errors, saturation) = (values.Select(value => new DifferenceSum(value)).ToList(), values.Select(value => new DifferenceSum(value)).ToList());
        var count = 0;
        foreach (var sample in samples)
        {
            cancellation.ThrowIfCancellationRequested();
            using var x = expected.Run(sample, values);
            using var y = found.Run(sample, values);
            using var z = exact.Run(sample, values);
            foreach (var (error, (first, second)) in errors.Zip(x.Zip(y)))
            {
                error.Add(first, second);
            }

            foreach (var (difference, (first, second)) in saturation.Zip(z.Zip(y)))
            {
                difference.Add(first, second);
            }

            progress?.Report(++count);
        }

        return count > 0 ? new FileComparison([.. errors.Select(sum => sum.Result())], [.. saturation.Select(sum => sum.Result())], count)
            : throw new NibbleException("There are no samples to compare the models on.");

        StatefulSession Open(string path, bool isDefault) => new(OnnxRuntimeSession.Open(path, path, threads, _ => { }, isDefault), options);
    }

    /// <summary>Checks that two files can compute the same.</summary>
    /// <exception cref="NibbleException">An input or output of one is missing in the other.</exception>
    internal static void RequireSame(string single, StatefulSession expected, string quantized, StatefulSession found)
    {
        Require("input", expected.Inputs, found.Inputs, quantized, single);
        Require("input", found.Inputs, expected.Inputs, single, quantized);
        Require("output", expected.Outputs, found.Outputs, quantized, single);
    }

    private static void Require(string kind, IReadOnlyList<string> wanted, IReadOnlyList<string> names, string path, string other)
    {
        if (wanted.FirstOrDefault(name => !names.Contains(name)) is { } missing)
        {
            throw new NibbleException(
                $"{path} has no {kind} '{missing}', which {other} has. Expected a quantized file and the float file that it was made from; its {kind}s are "
                + $"{string.Join(", ", names.Select(name => $"'{name}'"))}.");
        }
    }
}
