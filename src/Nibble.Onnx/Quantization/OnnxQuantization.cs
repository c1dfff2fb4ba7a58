using System.Globalization;
using Microsoft.ML.OnnxRuntime;
using Nibble.Numerics;
using Nibble.Onnx.Engine;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Quantization.Dynamic;
using Nibble.Onnx.Quantization.Equivalence;
using Nibble.Onnx.Quantization.Estimation;
using Nibble.Onnx.Quantization.Proof;
using Nibble.Onnx.Quantization.Weights;
using Nibble.Recipes;

namespace Nibble.Onnx.Quantization;

/// <summary>The quantization of one model.</summary>
internal sealed class OnnxQuantization
{
    /// <summary>The loss within which the fastest mode is chosen if the caller sets no limit.</summary>
    private const double AutoLoss = 0.15;

    private const int ComparedLayerSamples = 8;

    private readonly PreparedModel model;
    private readonly SampleSplit samples;
    private readonly OnnxQuantizationOptions options;
    private readonly IProgress<RunProgress>? progress;
    private readonly CancellationToken cancellation;
    private readonly List<ModeTrial> trials = [];

    public OnnxQuantization(
        PreparedModel model, SampleSplit samples, OnnxQuantizationOptions options, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        (this.model, this.samples, this.options, this.progress, this.cancellation) = (model, samples, options, progress, cancellation);
    }

    /// <summary>Quantizes, compares and writes.</summary>
    public OnnxQuantizationResult Run(string output)
    {
        var (mode, quantized, calibrated) = options.Mode == OnnxMode.Auto ? Choose() : Quantize(options.Mode);
        if (mode != OnnxMode.Static && Requested() is { Count: > 0 } idle)
        {
            options.Logger?.NotTransformed(string.Join(", ", idle), mode.ToString().ToLowerInvariant());
        }

        Describe(quantized, mode, calibrated, options);
        var path = Write(quantized);
        HeldMemory.Release();
        var (outputs, compared) = Compare(path);
        var layers = CompareLayers(quantized);
        var timing = Time(path);
        OnnxWriter.Write(output, quantized.Graph.Model);
        return new OnnxQuantizationResult
        {
            Path = output,
            Mode = mode,
            SourceBytes = model.SourceBytes,
            Bytes = OnnxWriter.BytesOf(output),
            Nodes = quantized.Nodes,
            Transformations = quantized.Transformations,
            CalibrationSamples = calibrated,
            ComparedSamples = compared,
            IsHeldOut = samples.IsHeldOut,
            Outputs = outputs,
            Layers = layers,
            Timing = timing,
            Trials = trials,
        };
    }

    /// <summary>The modes that are tried to find the fastest, in their order.</summary>
    public static IReadOnlyList<OnnxMode> Modes => [OnnxMode.Static, OnnxMode.Dynamic, OnnxMode.Weights];

    /// <summary>The largest acceptable relative error of an output. Null for any.</summary>
    public static double? LossLimit(OnnxQuantizationOptions options) => options.MaxLoss ?? (options.Mode == OnnxMode.Auto ? AutoLoss : null);

    /// <summary>The transformations that the options name.</summary>
    private List<string> Requested() =>
    [
        .. options.EqualizesLayers ? (string[])[GraphTransformation.Equalization] : [],
        .. options.SmoothsActivations ? (string[])[GraphTransformation.Smoothing] : [],
    ];

    private (OnnxMode Mode, QuantizedGraph Graph, int Calibrated) Quantize(OnnxMode mode)
    {
        if (mode == OnnxMode.Static)
        {
            var (equivalent, transformations) = EquivalentModel.Of(model, samples.Calibration, options, progress, cancellation);
            var quantizer = StaticQuantizer.Calibrate(
                equivalent, samples.Calibration, options, new StageProgress(progress, "calibrate", options.Samples), cancellation);
            IReadOnlySet<string> kept = new HashSet<string>();
            if (LossLimit(options) is { } limit)
            {
                using var precision = new MixedPrecision(equivalent, quantizer, samples.Calibration, options, progress, cancellation);
                kept = precision.Choose(limit);
            }

            var quantized = quantizer.Apply(node => kept.Contains(node.Name) ? StaticQuantizer.ReturnedToFloat : null);
            if (options.CorrectsBiases)
            {
                BiasCorrection.Apply(equivalent, quantized, samples.Calibration, options, progress, cancellation);
            }

            return (mode, quantized with { Float = equivalent, Transformations = transformations }, quantizer.Samples);
        }

        var (hessians, calibrated) = mode == OnnxMode.Weights && new WeightAlgorithms(Rounding: options.Rounding).NeedsData
            ? HessianCalibration.Run(model, samples.Calibration, options, new StageProgress(progress, "calibrate", options.Samples), cancellation)
            : (new Dictionary<string, SquareMatrix>(), 0);
        return (mode, QuantizeWeights(model, mode, options, hessians.GetValueOrDefault, cancellation), calibrated);
    }

    /// <summary>Quantizes in a mode that needs no ranges of activations.</summary>
    /// <param name="model">The model.</param>
    /// <param name="mode">The mode, dynamic or for weights alone.</param>
    /// <param name="options">How to quantize.</param>
    /// <param name="hessian">The Hessian of a value; null for those that were not calibrated.</param>
    /// <param name="cancellation">Stops between nodes.</param>
    public static QuantizedGraph QuantizeWeights(
        PreparedModel model, OnnxMode mode, OnnxQuantizationOptions options, Func<string, SquareMatrix?> hessian, CancellationToken cancellation)
    {
        var graph = model.Graph();
        var filter = new NodeFilter(graph, options.Exclude, options.Only);
        var decisions = mode == OnnxMode.Dynamic
            ? DynamicQuantizer.Apply(graph, new DynamicOptions { GuardSaturation = options.Target == OnnxTarget.Any }, filter.Objection, cancellation)
            : WeightOnlyQuantizer.Apply(
                graph,
                new WeightOnlyOptions
                {
                    Bits = options.Bits,
                    BlockSize = options.BlockSize,
                    Algorithm = options.Rounding,
                    Hessian = hessian,
                    StoreConvolutions = true,
                },
                filter.Objection,
                cancellation);
        graph.Sort();
        graph.RemoveUnusedConstants();
        return new QuantizedGraph(graph, decisions, []);
    }

    /// <summary>The best mode, measured on samples of the calibration.</summary>
    private (OnnxMode Mode, QuantizedGraph Graph, int Calibrated) Choose()
    {
        using var single = Open(model.Source, isDefault: true);
        var results = new Dictionary<OnnxMode, (OnnxMode Mode, QuantizedGraph Graph, int Calibrated)>();
        foreach (var mode in Modes)
        {
            results[mode] = Quantize(mode);
            var path = Write(results[mode].Graph);
            using var quantized = Open(path, isDefault: true);
            var (differences, _) = GraphComparison.Run(single, quantized, single.Outputs, samples.Calibration.Take(options.HeldOutSamples), cancellation);
            var bytes = OnnxWriter.BytesOf(path);
            trials.Add(new ModeTrial(mode, differences.Max(difference => difference.RelativeError) ?? 0, Time(path)?.Ratio ?? 1, bytes)
            {
                IsIdle = results[mode].Graph.Nodes.All(node => node.Kept is not null) && bytes >= model.SourceBytes,
            });
        }

        return results[ModeChoice.Best(trials, LossLimit(options) ?? double.PositiveInfinity).Mode];
    }

    private string Write(QuantizedGraph quantized)
    {
        var path = Path.Combine(model.Folder, "quantized.onnx");
        File.Delete(path);
        File.Delete(OnnxWriter.DataPath(path));
        OnnxWriter.Write(path, quantized.Graph.Model);
        return path;
    }

    /// <summary>Says in the file how it was made.</summary>
    /// <param name="quantized">The quantized graph.</param>
    /// <param name="mode">How it was quantized.</param>
    /// <param name="calibrated">The number of samples of the calibration.</param>
    /// <param name="options">How it was quantized in detail.</param>
    public static void Describe(QuantizedGraph quantized, OnnxMode mode, int calibrated, OnnxQuantizationOptions options)
    {
        List<string> algorithms =
        [
            .. quantized.Transformations.Select(done => string.Create(CultureInfo.InvariantCulture, $"{done.Name} ({done.Groups.Count})")),
            .. options.CorrectsBiases ? (string[])["bias"] : [],
        ];
        var how = mode switch
        {
            OnnxMode.Static => string.Create(
                CultureInfo.InvariantCulture, $"static, for {options.Target}, ranges by {options.Ranges} from {calibrated} samples")
                + (algorithms.Count > 0 ? $", algorithms: {string.Join(", ", algorithms)}" : string.Empty),
            OnnxMode.Dynamic => $"dynamic, for {options.Target}",
            _ => string.Create(CultureInfo.InvariantCulture, $"weights of {options.Bits} bits in blocks of {options.BlockSize}, by {options.Rounding}"),
        };
        (string Key, string Value)[] entries =
            [("nibble.version", OnnxModel.Version), (OnnxMetadata.Quantization, how), .. mode == OnnxMode.Static ? [("nibble.calibration", options.DataName)]
                : ((string, string)[])[]];
        quantized.Graph.Model.MetadataProps.AddRange(entries.Select(entry => new StringStringEntryProto { Key = entry.Key, Value = entry.Value }));
    }

    private (IReadOnlyList<OutputDifference> Outputs, int Samples) Compare(string path)
    {
        using var single = Open(model.Source, isDefault: true);
        using var result = Open(path, isDefault: true);
        RequireSameEverywhere(path, result);
        return GraphComparison.Run(single, result, single.Outputs, samples.HeldOut, cancellation);
    }

    /// <summary>Refuses a file whose answers depend on the processor.</summary>
    private void RequireSameEverywhere(string path, StatefulSession result)
    {
        if (options.AllowSaturation || options.Target != OnnxTarget.Any)
        {
            return;
        }

        using var exact = Open(path, isDefault: false);
        var (outputs, _) = GraphComparison.Run(exact, result, exact.Outputs, samples.HeldOut, cancellation);
        if (outputs.FirstOrDefault(difference => difference.Largest > 0) is { } other)
        {
            throw new NibbleException(
                $"The quantized model gives other answers where sums of products saturate, as on this processor: output '{other.Name}' differs by up to "
                + string.Create(CultureInfo.InvariantCulture, $"{other.Largest:G3}. Choose a target whose processors do not saturate, or allow saturation."));
        }
    }

    private List<OutputDifference> CompareLayers(QuantizedGraph quantized)
    {
        var inputs = quantized.Graph.Inputs.Select(input => input.Name).ToHashSet(StringComparer.Ordinal);
        var values = quantized.Values.Where(value => !inputs.Contains(value)).ToList();
        if (values.Count == 0)
        {
            return [];
        }

        var parts = model.Memory.Parts(values);
        using var singles = new ProbedParts((quantized.Float ?? model).Graph(), parts, model.Folder);
        using var results = new ProbedParts(quantized.Graph, parts, model.Folder);
        var differences = new List<OutputDifference>();
        for (var part = 0; part < parts.Count; part++)
        {
            using var single = Stateful(singles.Open(part));
            using var result = Stateful(results.Open(part));
            differences.AddRange(
                GraphComparison.Run(single, result, parts[part], samples.HeldOut.Take(ComparedLayerSamples), cancellation).Differences);
        }

        return differences;
    }

    private PairedTiming? Time(string path)
    {
        if (samples.HeldOut.FirstOrDefault() is not { } sample)
        {
            return null;
        }

        progress?.Report(new RunProgress("time", 0, 1));
        using var single = Open(model.Source, isDefault: true, threads: 1);
        using var result = Open(path, isDefault: true, threads: 1);
        var timing = PairedTiming.Measure(single, result, sample, options.TimingLimit, cancellation);
        progress?.Report(new RunProgress("time", 1, 1));
        return timing;
    }

    private StatefulSession Open(string path, bool isDefault, int? threads = null) =>
        Stateful(OnnxRuntimeSession.Open(path, model.Path, threads ?? Environment.ProcessorCount, _ => { }, isDefault));

    private StatefulSession Stateful(InferenceSession session) => new(session, options);

    /// <summary>Reports the samples of a stage.</summary>
    internal sealed class StageProgress(IProgress<RunProgress>? progress, string stage, int total) : IProgress<int>
    {
        public void Report(int value) => progress?.Report(new RunProgress(stage, value, total));
    }
}
