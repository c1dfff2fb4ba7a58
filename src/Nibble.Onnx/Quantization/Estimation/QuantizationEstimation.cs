using System.Globalization;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Quantization.Placement;
using Nibble.Recipes;

namespace Nibble.Onnx.Quantization.Estimation;

/// <summary>Predicts a quantization: places integers and rounds weights as it would, but runs one sample only, and that to see how large values are.</summary>
internal static class QuantizationEstimation
{
    /// <summary>The bytes of an observer: 4,096 counts, and a copy while they are joined.</summary>
    private const long ObserverBytes = 2 * 4096 * sizeof(long);

    /// <summary>Predicts the quantization of a model.</summary>
    /// <param name="model">The model.</param>
    /// <param name="samples">The samples. Only as many are read as are needed to know the largest.</param>
    /// <param name="options">How to quantize, and how much memory it may take.</param>
    /// <param name="cancellation">Stops the work.</param>
    /// <exception cref="NibbleException">The model or a sample cannot be used, or the memory does not suffice.</exception>
    public static OnnxQuantizationEstimate Run(PreparedModel model, SampleSplit samples, OnnxQuantizationOptions options, CancellationToken cancellation)
    {
        var held = HeldMemory.Now();
        IReadOnlyList<OnnxMode> modes = options.Mode == OnnxMode.Auto ? OnnxQuantization.Modes : [options.Mode];
        List<ModeEstimate> estimates = [.. modes.Select(mode => Estimate(model, mode, options, cancellation))];
        var sizes = ValueSizes.Measure(model, ValueSizes.LargestOf(model, samples.Read, options, cancellation), options);
        var graph = model.Graph();
        var filter = new NodeFilter(graph, options.Exclude, options.Only);
        IReadOnlyList<string> watched = [], observed = [];
        var hessians = 0L;
        if (modes.Contains(OnnxMode.Static))
        {
            observed = IntegerNodes.Candidates(graph, filter.Objection).PossibleValues;
            watched = observed;
        }
        else if (NeedsHessians(options))
        {
            var inputs = HessianCalibration.Inputs(graph);
            watched = [.. inputs.Keys];
            hessians = inputs.Values.Sum(size => (long)size * size * sizeof(float));
        }

        // Nodes return to float on trial, so that a graph that is as large as the float one is loaded too.
        var bytes = OnnxWriter.BytesOf(model.Source);
        var needs = new MemoryNeeds(
            held,
            OnnxQuantization.LossLimit(options) is null || !modes.Contains(OnnxMode.Static) ? bytes : 2 * bytes,
            estimates.Max(estimate => estimate.Bytes),
            estimates.Sum(estimate => estimate.Bytes),
            (observed.Count * ObserverBytes) + hessians + (BiasCorrection.MeasuredSamples * sizes.SampleBytes),
            watched,
            modes.Contains(OnnxMode.Static) ? 2 : 1);
        var plan = MemoryPlan.Of(needs, sizes, options.MemoryBytes);
        var inside = graph.Inputs.Select(input => input.Name).ToHashSet(StringComparer.Ordinal);
        return new OnnxQuantizationEstimate(
            model.SourceBytes, estimates, plan.PeakBytes, watched.Count == 0 ? 0 : plan.Parts(watched.Where(value => !inside.Contains(value))).Count,
            [.. Notes(modes, estimates, options)])
        {
            Memory = plan,
        };
    }

    private static bool NeedsHessians(OnnxQuantizationOptions options) =>
        options.Mode == OnnxMode.Weights && new WeightAlgorithms(Rounding: options.Rounding).NeedsData;

    private static ModeEstimate Estimate(PreparedModel model, OnnxMode mode, OnnxQuantizationOptions options, CancellationToken cancellation)
    {
        // Codes are as large however they are chosen.
        var quantized = mode == OnnxMode.Static ? StaticQuantizer.Uncalibrated(model, options).Apply(_ => null)
            : OnnxQuantization.QuantizeWeights(model, mode, options with { Rounding = WeightRounding.RoundToNearest }, _ => null, cancellation);
        OnnxQuantization.Describe(quantized, mode, options.Samples, options);
        return new ModeEstimate(mode, OnnxWriter.BytesOf(quantized.Graph.Model), quantized.Nodes);
    }

    private static IEnumerable<string> Notes(IReadOnlyList<OnnxMode> modes, IReadOnlyList<ModeEstimate> estimates, OnnxQuantizationOptions options)
    {
        var limit = OnnxQuantization.LossLimit(options);
        if (modes.Count > 1)
        {
            yield return string.Create(
                CultureInfo.InvariantCulture, $"speeds and errors decide between the modes: the fastest whose error is within {limit:P0} is written");
        }

        if (!modes.Contains(OnnxMode.Static))
        {
            yield break;
        }

        var joined = estimates.First(estimate => estimate.Mode == OnnxMode.Static).Nodes.Count(node => node.Kept is null && node.Operator == "Concat");
        if (joined > 0)
        {
            yield return string.Create(
                CultureInfo.InvariantCulture,
                $"ranges decide about {joined} Concat {(joined == 1 ? "node" : "nodes")}: with inputs of very different ranges, it stays float");
        }

        if (limit is { } loss)
        {
            yield return string.Create(
                CultureInfo.InvariantCulture,
                $"errors decide whether nodes return to float in static mode: the most sensitive do until the error is within {loss:P0}");
        }
    }
}
