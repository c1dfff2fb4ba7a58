using System.Text.Json;
using Microsoft.ML.OnnxRuntime;
using Nibble.Onnx.Engine;

namespace Nibble.Onnx.Quantization;

/// <summary>Measures the time of each node of a float graph with ONNX Runtime's profiler.</summary>
internal static class NodeTimes
{
    private const int Runs = 6;
    private const string Suffix = "_kernel_time";

    /// <summary>Measures times.</summary>
    /// <param name="path">The float graph, whose nodes have names.</param>
    /// <param name="name">What messages call the model.</param>
    /// <param name="sample">The sample to run, with states.</param>
    /// <param name="options">The states, and the sizes of inputs.</param>
    /// <param name="folder">A folder for temporary files.</param>
    /// <returns>Seconds by node. Nodes that ONNX Runtime has joined with others are missing.</returns>
    public static IReadOnlyDictionary<string, double> Measure(
        string path, string name, IReadOnlyCollection<NamedOnnxValue> sample, OnnxQuantizationOptions options, string folder)
    {
        var session = OnnxRuntimeSession.Open(path, name, 1, settings =>
        {
            settings.GraphOptimizationLevel = GraphOptimizationLevel.ORT_ENABLE_BASIC;
            settings.ProfileOutputPathPrefix = Path.Combine(folder, "profile");
            settings.EnableProfiling = true;
        });
        string profile;
        using (var stateful = new StatefulSession(session, options))
        {
            for (var i = 0; i < Runs; i++)
            {
                stateful.Run(sample, stateful.Outputs).Dispose();
            }

            profile = session.EndProfiling();
        }

        using var document = JsonDocument.Parse(File.ReadAllBytes(profile));
        File.Delete(profile);

        // Other work on the machine only adds time, and the first run allocates, so the least time is the node's own.
        var times = new Dictionary<string, double>(StringComparer.Ordinal);
        foreach (var entry in document.RootElement.EnumerateArray())
        {
            if (entry.TryGetProperty("name", out var label) && label.GetString() is { } text && text.EndsWith(Suffix, StringComparison.Ordinal))
            {
                var node = text[..^Suffix.Length];
                times[node] = Math.Min(times.GetValueOrDefault(node, double.MaxValue), entry.GetProperty("dur").GetInt64() * 1e-6);
            }
        }

        return times;
    }
}
