using System.Runtime.InteropServices;
using Microsoft.ML.OnnxRuntime;
using Nibble.Onnx.Engine;
using Nibble.Onnx.Graphs;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Quantization;

/// <summary>Builds small float graphs and runs what became of them.</summary>
internal sealed class TestGraph : IDisposable
{
    private readonly TemporaryFolder folder = new();
    private int files;
    private string? source;

    public GraphBuilder Builder { get; } = new();

    public void Dispose() => folder.Dispose();

    /// <summary>Numbers of about -1 to 1, and a few larger ones.</summary>
    public static float[] Numbers(int seed, int count)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => (random.NextSingle() - 0.45f) * (random.Next(20) == 0 ? 6 : 2))];
    }

    public string Constant(string name, float[] values, params long[] shape) =>
        Builder.Initializer(name, OnnxType.Float32, shape, stream => stream.Write(MemoryMarshal.AsBytes(values.AsSpan())));

    /// <summary>The graph as quantization receives it, each time a new one. It is complete from the first call on.</summary>
    public OnnxGraph Read()
    {
        if (source is null)
        {
            source = File();
            OnnxWriter.Write(source, Builder.Build("g", []), Builder.Initializers);
        }

        return OnnxModelReader.Read(source);
    }

    /// <summary>The first output.</summary>
    /// <param name="graph">The graph.</param>
    /// <param name="isDefault">Whether the session has default options.</param>
    /// <param name="inputs">float[] or long[] values by name, with their shapes.</param>
    public float[] Run(OnnxGraph graph, bool isDefault, params (string Name, Array Values, long[] Shape)[] inputs)
    {
        var path = File();
        OnnxWriter.Write(path, graph.Model);
        using var session = OnnxRuntimeSession.Open(path, path, 1, _ => { }, isDefault);
        var values = inputs.ToDictionary(
            input => input.Name,
            input => input.Values is long[] integers ? OrtValue.CreateTensorValueFromMemory(integers, input.Shape)
                : OrtValue.CreateTensorValueFromMemory((float[])input.Values, input.Shape));
        try
        {
            using var options = new RunOptions();
            using var results = session.Run(options, values, [session.OutputNames[0]]);
            return results[0].GetTensorDataAsSpan<float>().ToArray();
        }
        finally
        {
            foreach (var value in values.Values)
            {
                value.Dispose();
            }
        }
    }

    /// <summary>The graph after ONNX Runtime's optimization for a session.</summary>
    public OnnxGraph Optimized(OnnxGraph graph, GraphOptimizationLevel level)
    {
        var (path, optimized) = (File(), File());
        OnnxWriter.Write(path, graph.Model);
        OnnxRuntimeSession.Open(path, path, 1, settings =>
        {
            settings.GraphOptimizationLevel = level;
            settings.OptimizedModelFilePath = optimized;
        }).Dispose();
        return OnnxModelReader.Read(optimized);
    }

    /// <summary>x W^T in double, with the sum of the products' magnitudes.</summary>
    public static (double Sum, double Size) Product(ReadOnlySpan<float> x, ReadOnlySpan<float> weights)
    {
        double sum = 0, size = 0;
        for (var i = 0; i < x.Length; i++)
        {
            var product = (double)x[i] * weights[i];
            sum += product;
            size += Math.Abs(product);
        }

        return (sum, size);
    }

    private string File() => folder.File($"{++files}.onnx");
}
