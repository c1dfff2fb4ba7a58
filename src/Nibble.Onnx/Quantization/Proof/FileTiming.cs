using Microsoft.ML.OnnxRuntime;
using Nibble.Onnx.Engine;

namespace Nibble.Onnx.Quantization.Proof;

/// <summary>The speed of a quantized file beside the float file that it was made from.</summary>
/// <param name="Threads">The number of threads per node.</param>
/// <param name="Timing">The time of one run of each.</param>
internal sealed record FileTiming(int Threads, PairedTiming Timing)
{
    /// <summary>Measures two files, which take turns.</summary>
    /// <param name="quantized">The quantized ONNX file.</param>
    /// <param name="single">The float ONNX file.</param>
    /// <param name="sample">The sample that both compute, without states.</param>
    /// <param name="options">The states, and the sizes of inputs that the model leaves free.</param>
    /// <param name="threads">The numbers of threads to measure with.</param>
    /// <param name="limit">The wall-clock time for each number of threads.</param>
    /// <param name="progress">Takes what has been done.</param>
    /// <param name="cancellation">Stops the measurement.</param>
    /// <exception cref="NibbleException">
    /// A file is refused by ONNX Runtime, the files do not have the same inputs and outputs, or the sample does not fit.
    /// </exception>
    public static IReadOnlyList<FileTiming> Run(
        string quantized,
        string single,
        IReadOnlyCollection<NamedOnnxValue> sample,
        OnnxQuantizationOptions options,
        IReadOnlyList<int> threads,
        TimeSpan limit,
        IProgress<RunProgress>? progress,
        CancellationToken cancellation)
    {
        var timings = new List<FileTiming>();
        foreach (var count in threads)
        {
            using var expected = Open(single, count);
            using var found = Open(quantized, count);
            FileComparison.RequireSame(single, expected, quantized, found);
            timings.Add(new FileTiming(count, PairedTiming.Measure(expected, found, sample, limit, cancellation)));
            progress?.Report(new RunProgress("time", timings.Count, threads.Count));
        }

        return timings;

        StatefulSession Open(string path, int count) => new(OnnxRuntimeSession.Open(path, path, count, _ => { }, isDefault: true), options);
    }
}
