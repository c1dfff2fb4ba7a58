using Microsoft.ML.OnnxRuntime;
using Nibble.Numerics;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Quantization.Placement;

namespace Nibble.Onnx.Quantization;

/// <summary>Quantizes weights and activations with ranges from calibration data.</summary>
internal sealed class StaticQuantizer
{
    /// <summary>Why a node stays float whose quantization would cost too much accuracy.</summary>
    public const string ReturnedToFloat = "quantizing it would take the loss above the limit";

    private readonly PreparedModel model;
    private readonly OnnxQuantizationOptions options;
    private readonly IReadOnlyDictionary<string, ValueRange> ranges;

    private StaticQuantizer(PreparedModel model, OnnxQuantizationOptions options, IReadOnlyDictionary<string, ValueRange> ranges, int samples)
    {
        (this.model, this.options, this.ranges, Samples) = (model, options, ranges, samples);
    }

    /// <summary>The number of samples that the ranges come from.</summary>
    public int Samples { get; }

    /// <summary>Measures the ranges of all values that may be quantized.</summary>
    /// <exception cref="NibbleException">There are no samples, or a pattern of the options matches no node.</exception>
    public static StaticQuantizer Calibrate(
        PreparedModel model,
        IEnumerable<IReadOnlyCollection<NamedOnnxValue>> samples,
        OnnxQuantizationOptions options,
        IProgress<int>? progress,
        CancellationToken cancellation)
    {
        var graph = model.Graph();
        var filter = new NodeFilter(graph, options.Exclude, options.Only);
        var values = IntegerNodes.Candidates(graph, filter.Objection).PossibleValues;
        var (ranges, count) = RangeCalibration.Run(graph, values, samples, options, model, progress, cancellation);
        return new StaticQuantizer(model, options, ranges, count);
    }

    /// <summary>A quantizer that knows no ranges, for graphs that show where integers are and how large the file is, but do not compute.</summary>
    /// <exception cref="NibbleException">A pattern of the options matches no node.</exception>
    public static StaticQuantizer Uncalibrated(PreparedModel model, OnnxQuantizationOptions options)
    {
        var graph = model.Graph();
        var filter = new NodeFilter(graph, options.Exclude, options.Only);
        var values = IntegerNodes.Candidates(graph, filter.Objection).PossibleValues;
        return new StaticQuantizer(model, options, values.ToDictionary(value => value, _ => new ValueRange(-1, 1), StringComparer.Ordinal), samples: 0);
    }

    /// <summary>The convolutions and products that can be quantized, with their operators.</summary>
    public IReadOnlyList<(string Name, string Operator)> WeightedNodes()
    {
        var graph = model.Graph();
        var filter = new NodeFilter(graph, options.Exclude, options.Only);
        var forms = IntegerNodes.Candidates(graph, filter.Objection).Forms;
        return [.. graph.Nodes.Where(node => forms.TryGetValue(node, out var form) && form.Weight is not null).Select(node => (node.Name, node.OpType))];
    }

    /// <summary>Makes a quantized graph.</summary>
    /// <param name="kept">Why a node stays float, beyond the options; null if it need not.</param>
    public QuantizedGraph Apply(Func<NodeProto, string?> kept)
    {
        var graph = model.Graph();
        var filter = new NodeFilter(graph, options.Exclude, options.Only);
        string? Objection(NodeProto node) => filter.Objection(node) ?? kept(node);
        var nodes = IntegerNodes.Candidates(graph, Objection);
        nodes.KeepMixedRanges(value => ranges.TryGetValue(value, out var range) ? range : null);
        var decisions = nodes.Decisions;
        var values = nodes.QuantizedValues();
        var grids = nodes.PossibleValues.Where(ranges.ContainsKey)
            .ToDictionary(value => value, value => ByteGrid.Of(RangeOf(graph, value)), StringComparer.Ordinal);
        var weights = QdqWriter.Write(graph, nodes, value => grids[value], options.Target == OnnxTarget.Any);
        var stored = StoreTables(graph, Objection);
        return new QuantizedGraph(
            graph,
            [.. decisions.Select(node => node with
            {
                GuardedChannels = weights.GetValueOrDefault(node.Node)?.Guarded ?? 0,
                BiasChannels = weights.GetValueOrDefault(node.Node)?.Raised ?? 0,
                Kept = stored.Contains(node.Node) ? null : node.Kept,
            })],
            values);
    }

    /// <summary>
    /// The range to quantize a value in. For what a Softmax computes, it is all that a Softmax can compute: between DequantizeLinear and QuantizeLinear, ONNX
    /// Runtime computes it with integers, whose kernel overflows for scales below 1/256. It removes or swaps the nodes in between that only clamp or move.
    /// </summary>
    private ValueRange RangeOf(OnnxGraph graph, string value)
    {
        var producer = graph.Producer(value);
        while (producer is not null && PlacementRules.ClampsOrMoves(producer))
        {
            producer = graph.Producer(producer.Input[0]);
        }

        var range = ranges[value];
        return producer?.OpType == "Softmax" ? new ValueRange(Math.Min(range.Min, 0), Math.Max(range.Max, byte.MaxValue / 256f)) : range;
    }

    /// <summary>Stores the tables that nodes look up rows of as bytes.</summary>
    /// <returns>The names of the nodes.</returns>
    private static HashSet<string> StoreTables(OnnxGraph graph, Func<NodeProto, string?> objection)
    {
        var tables = new EmbeddingTables(graph);
        var stored = graph.Nodes.Where(node => node.IsStandard() && node.OpType == "Gather").ToList()
            .Where(node => objection(node) is null && tables.Apply(node) is null).Select(node => node.Name).ToHashSet(StringComparer.Ordinal);
        graph.RemoveUnusedConstants();
        graph.Sort();
        return stored;
    }
}
