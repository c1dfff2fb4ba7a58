using System.Diagnostics;
using Microsoft.ML.OnnxRuntime;

namespace Nibble.Onnx.Quantization.Proof;

/// <summary>The time of one run of two graphs, measured in turn so that both meet the same machine.</summary>
/// <param name="Float">The median of the float graph, in seconds.</param>
/// <param name="Quantized">The median of the quantized graph, in seconds.</param>
/// <param name="Runs">The number of pairs.</param>
public sealed record PairedTiming(double Float, double Quantized, int Runs)
{
    private const int WarmUpRuns = 3;

    /// <summary>How many times faster the quantized graph is.</summary>
    public double Ratio => Float / Quantized;

    /// <summary>Measures two graphs.</summary>
    /// <param name="single">The float graph.</param>
    /// <param name="quantized">The quantized graph.</param>
    /// <param name="sample">The sample that both compute.</param>
    /// <param name="limit">The wall-clock time to spend.</param>
    /// <param name="cancellation">Stops the measurement.</param>
    internal static PairedTiming Measure(
        StatefulSession single, StatefulSession quantized, IReadOnlyCollection<NamedOnnxValue> sample, TimeSpan limit, CancellationToken cancellation)
    {
        for (var i = 0; i < WarmUpRuns; i++)
        {
            Seconds(single, sample);
            Seconds(quantized, sample);
        }

        var (first, second) = (new List<double>(), new List<double>());
        var started = Stopwatch.GetTimestamp();
        while (first.Count < WarmUpRuns || Stopwatch.GetElapsedTime(started) < limit)
        {
            cancellation.ThrowIfCancellationRequested();
            first.Add(Seconds(single, sample));
            second.Add(Seconds(quantized, sample));
        }

        return new PairedTiming(Median(first), Median(second), first.Count);
    }

    private static double Seconds(StatefulSession session, IReadOnlyCollection<NamedOnnxValue> sample)
    {
        var started = Stopwatch.GetTimestamp();
        session.Run(sample, session.Outputs).Dispose();
        return Stopwatch.GetElapsedTime(started).TotalSeconds;
    }

    private static double Median(List<double> values)
    {
        values.Sort();
        return (values[(values.Count - 1) / 2] + values[values.Count / 2]) / 2;
    }
}
