using Microsoft.ML.OnnxRuntime;
using Nibble.Onnx.Engine;
using Nibble.Onnx.Quantization.Proof;

namespace Nibble.Onnx.Quantization;

/// <summary>Measures which nodes suffer from quantization, and returns the fewest to float that bring the loss within a limit.</summary>
internal sealed class MixedPrecision : IDisposable
{
    private const int MeasuredSamples = 16;

    private readonly PreparedModel model;
    private readonly StaticQuantizer quantizer;
    private readonly IReadOnlyList<IReadOnlyCollection<NamedOnnxValue>> samples;
    private readonly OnnxQuantizationOptions options;
    private readonly IProgress<RunProgress>? progress;
    private readonly CancellationToken cancellation;
    private readonly StatefulSession single;

    /// <summary>Prepares the measurement.</summary>
    /// <param name="model">The model.</param>
    /// <param name="quantizer">The calibrated quantizer.</param>
    /// <param name="samples">The samples to measure on, of which the first are used. Where the result chooses nodes, they are not the held-out ones.</param>
    /// <param name="options">The options.</param>
    /// <param name="progress">Takes the number of nodes so far.</param>
    /// <param name="cancellation">Stops the work.</param>
    public MixedPrecision(
        PreparedModel model,
        StaticQuantizer quantizer,
        IEnumerable<IReadOnlyCollection<NamedOnnxValue>> samples,
        OnnxQuantizationOptions options,
        IProgress<RunProgress>? progress,
        CancellationToken cancellation)
    {
        (this.model, this.quantizer, this.options, this.progress, this.cancellation) = (model, quantizer, options, progress, cancellation);
        this.samples = [.. samples.Take(MeasuredSamples)];
        single = new StatefulSession(OnnxRuntimeSession.Open(model.Source, Environment.ProcessorCount), options);
    }

    /// <summary>The number of samples that are measured on.</summary>
    public int Samples => samples.Count;

    /// <summary>Measures every convolution and product: quantized alone.</summary>
    /// <returns>The nodes, the most sensitive for its time first.</returns>
    public IReadOnlyList<NodeSensitivity> Measure()
    {
        var nodes = quantizer.WeightedNodes();
        var times = options.TimingLimit > TimeSpan.Zero ? NodeTimes.Measure(model.Source, model.Path, samples[0], options, model.Folder)
            : new Dictionary<string, double>();
        var measured = new List<NodeSensitivity>();
        foreach (var (name, type) in nodes)
        {
            cancellation.ThrowIfCancellationRequested();
            var loss = Loss(quantizer.Apply(node => node.Name == name ? null : "another node is measured"));
            measured.Add(new NodeSensitivity(name, type, loss, times.TryGetValue(name, out var seconds) ? seconds : null));
            progress?.Report(new RunProgress("sensitivity", measured.Count, nodes.Count));
        }

        // A node that takes no time in integers or in float can return to float first.
        return [.. measured.OrderByDescending(node => node.Loss * node.Loss / Math.Max(node.Seconds ?? 0, 1e-7))
            .ThenBy(node => node.Node, StringComparer.Ordinal)];
    }

    /// <summary>The fewest nodes that must return to float for the loss to be within the limit.</summary>
    /// <param name="limit">The largest relative error of an output.</param>
    public IReadOnlySet<string> Choose(double limit)
    {
        if (LossWithout(0, []) <= limit)
        {
            return new HashSet<string>();
        }

        var order = Measure();

        // The loss falls with every node that returns to float, so that the number can be bisected.
        var (few, many) = (0, order.Count);
        while (many - few > 1)
        {
            var middle = (few + many) / 2;
            (few, many) = LossWithout(middle, order) <= limit ? (few, middle) : (middle, many);
        }

        return order.Take(many).Select(node => node.Node).ToHashSet(StringComparer.Ordinal);
    }

    /// <inheritdoc/>
    public void Dispose() => single.Dispose();

    private double LossWithout(int count, IReadOnlyList<NodeSensitivity> order)
    {
        cancellation.ThrowIfCancellationRequested();
        var kept = order.Take(count).Select(node => node.Node).ToHashSet(StringComparer.Ordinal);
        return Loss(quantizer.Apply(node => kept.Contains(node.Name) ? StaticQuantizer.ReturnedToFloat : null));
    }

    /// <summary>The largest relative error of an output.</summary>
    private double Loss(QuantizedGraph quantized)
    {
        using var result = new StatefulSession(ProbedGraph.Open(quantized.Graph, [], model.Folder), options);
        var (differences, _) = GraphComparison.Run(single, result, single.Outputs, samples, cancellation);
        return differences.Max(difference => difference.RelativeError) ?? 0;
    }
}
