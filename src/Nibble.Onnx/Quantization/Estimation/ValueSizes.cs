using Microsoft.ML.OnnxRuntime;
using Nibble.Onnx.Data;
using Nibble.Onnx.Engine;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Quantization.Estimation;

/// <summary>The bytes of the values that a float graph computes from one sample.</summary>
internal sealed class ValueSizes
{
    /// <summary>The bytes of an element whose type says nothing else.</summary>
    private const int LargestElement = 8;

    private readonly Dictionary<string, long> bytes;

    private ValueSizes(Dictionary<string, long> bytes, long sampleBytes, long liveBytes)
    {
        (this.bytes, SampleBytes, LiveBytes) = (bytes, sampleBytes, liveBytes);
    }

    /// <summary>The bytes of the sample itself.</summary>
    public long SampleBytes { get; }

    /// <summary>The most bytes that values take at a time while the graph runs, if each is freed after the last node that reads it.</summary>
    public long LiveBytes { get; }

    /// <summary>The bytes of a value. 0 if it is no tensor.</summary>
    public long Of(string value) => bytes.GetValueOrDefault(value);

    /// <summary>Runs a sample, and counts the elements of all values. This takes no more memory than a run without counting.</summary>
    /// <param name="model">The model.</param>
    /// <param name="sample">The sample.</param>
    /// <param name="options">The states, and the sizes of inputs.</param>
    /// <exception cref="NibbleException">The sample does not fit the model.</exception>
    public static ValueSizes Measure(PreparedModel model, IReadOnlyCollection<NamedOnnxValue> sample, OnnxQuantizationOptions options)
    {
        var graph = model.Graph();
        var nodes = graph.Nodes.ToList();
        var counts = nodes.SelectMany(node => node.Output).Where(value => value.Length > 0 && graph.TypeOf(value) is not null)
            .ToDictionary(value => value, value => graph.AddNode(string.Empty, "Size", value + "/count", [value]), StringComparer.Ordinal);
        var bytes = sample.ToDictionary(value => value.Name, BytesOf, StringComparer.Ordinal);
        if (counts.Count > 0)
        {
            List<string> requested = [.. counts.Values];
            using var session = new StatefulSession(ProbedGraph.Open(graph, requested, model.Folder), options);
            using var outputs = session.Run(sample, requested);
            foreach (var ((value, _), count) in counts.Zip(outputs))
            {
                bytes[value] = count.AsTensor<long>().GetValue(0) * ElementBytes(graph.TypeOf(value)!.Element);
            }
        }

        return new ValueSizes(bytes, sample.Sum(BytesOf), Live(graph, nodes, bytes));
    }

    /// <summary>The sample with the most elements. Only the first is read if the model leaves no size free.</summary>
    /// <param name="model">The model.</param>
    /// <param name="samples">The samples, at least one.</param>
    /// <param name="options">The sizes of inputs.</param>
    /// <param name="cancellation">Stops between samples.</param>
    /// <exception cref="NibbleException">There is no sample.</exception>
    public static IReadOnlyCollection<NamedOnnxValue> LargestOf(
        PreparedModel model, IEnumerable<IReadOnlyCollection<NamedOnnxValue>> samples, OnnxQuantizationOptions options, CancellationToken cancellation)
    {
        var graph = model.Graph();
        var isFixed = graph.Inputs.All(
            input => options.Shapes.ContainsKey(input.Name) || graph.TypeOf(input.Name)?.Shape?.All(size => size is not null) == true);
        IReadOnlyCollection<NamedOnnxValue>? largest = null;
        foreach (var sample in isFixed ? samples.Take(1) : samples)
        {
            cancellation.ThrowIfCancellationRequested();
            largest = largest is null || sample.Sum(BytesOf) > largest.Sum(BytesOf) ? sample : largest;
        }

        return largest ?? throw new NibbleException("There are no samples to calibrate on.");
    }

    private static long BytesOf(NamedOnnxValue value)
    {
        var kind = TensorKind.Of(value);
        return kind.ShapeOf(value).Aggregate(1L, (product, size) => product * size) * ElementBytes((OnnxType)(int)kind.Type);
    }

    private static int ElementBytes(OnnxType type) => type is OnnxType.Undefined or OnnxType.String || !Enum.IsDefined(type) ? LargestElement : type.ByteSize();

    private static long Live(OnnxGraph graph, List<NodeProto> nodes, Dictionary<string, long> bytes)
    {
        // What the graph gives is kept until its end.
        var last = new Dictionary<string, int>(StringComparer.Ordinal);
        for (var i = 0; i < nodes.Count; i++)
        {
            foreach (var value in Subgraphs.Reads(nodes[i]).Concat(nodes[i].Output).Where(bytes.ContainsKey))
            {
                last[value] = graph.IsOutput(value) ? nodes.Count : i;
            }
        }

        var freed = last.ToLookup(value => value.Value, value => value.Key);
        var (live, most) = (0L, 0L);
        for (var i = 0; i < nodes.Count; i++)
        {
            live += nodes[i].Output.Sum(value => bytes.GetValueOrDefault(value));
            most = Math.Max(most, live);
            live -= freed[i].Where(value => graph.Producer(value) is not null).Sum(value => bytes[value]);
        }

        return most;
    }
}
