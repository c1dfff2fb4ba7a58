using System.Globalization;
using Microsoft.ML.OnnxRuntime;
using Nibble.Onnx.Engine;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Quantization.Proof;

namespace Nibble.Onnx.Quantization;

/// <summary>The quantization of one model.</summary>
internal sealed class OnnxQuantization
{
    private readonly PreparedModel model;
    private readonly SampleSplit samples;
    private readonly OnnxQuantizationOptions options;
    private readonly IProgress<RunProgress>? progress;
    private readonly CancellationToken cancellation;
    private readonly string source;

    public OnnxQuantization(
        PreparedModel model, SampleSplit samples, OnnxQuantizationOptions options, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        (this.model, this.samples, this.options, this.progress, this.cancellation) = (model, samples, options, progress, cancellation);
        source = Path.Combine(model.Folder, "float.onnx");
        OnnxWriter.Write(source, model.Graph().Model);
    }

    /// <summary>Quantizes, compares and writes.</summary>
    public OnnxQuantizationResult Run(string output)
    {
        var quantizer = StaticQuantizer.Calibrate(model, samples.Calibration, options, new StageProgress(progress, "calibrate", options.Samples), cancellation);
        var quantized = quantizer.Apply(_ => null);
        var path = Path.Combine(model.Folder, "quantized.onnx");
        Describe(quantized.Graph, quantizer.Samples);
        OnnxWriter.Write(path, quantized.Graph.Model);
        using var single = Open(source, isDefault: true);
        using var result = Open(path, isDefault: true);
        RequireSameEverywhere(path, result);
        var (outputs, compared) = GraphComparison.Run(single, result, single.Outputs, samples.HeldOut, cancellation);
        var layers = CompareLayers(quantized);
        var timing = samples.HeldOut.FirstOrDefault() is { } sample ? Time(path, sample) : null;
        OnnxWriter.Write(output, quantized.Graph.Model);
        return new OnnxQuantizationResult
        {
            Path = output,
            Mode = OnnxMode.Static,
            SourceBytes = model.SourceBytes,
            Bytes = new FileInfo(output).Length + (File.Exists(OnnxWriter.DataPath(output)) ? new FileInfo(OnnxWriter.DataPath(output)).Length : 0),
            Nodes = quantized.Nodes,
            CalibrationSamples = quantizer.Samples,
            ComparedSamples = compared,
            IsHeldOut = samples.IsHeldOut,
            Outputs = outputs,
            Layers = layers,
            Timing = timing,
            GuardedChannels = quantized.GuardedChannels,
        };
    }

    /// <summary>Says in the file how it was made.</summary>
    private void Describe(OnnxGraph graph, int calibrated)
    {
        (string Key, string Value)[] entries =
        [
            ("nibble.version", OnnxModel.Version),
            ("nibble.quantization", string.Create(
                CultureInfo.InvariantCulture,
                $"{options.Mode.ToString().ToLowerInvariant()}, for {options.Target}, ranges by {options.Ranges} from {calibrated} samples")),
            ("nibble.calibration", options.DataName),
        ];
        graph.Model.MetadataProps.AddRange(entries.Select(entry => new StringStringEntryProto { Key = entry.Key, Value = entry.Value }));
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
                + $"{other.Largest:G3}. Choose a target whose processors do not saturate, or allow saturation.");
        }
    }

    private IReadOnlyList<OutputDifference> CompareLayers(QuantizedGraph quantized)
    {
        var inputs = quantized.Graph.Inputs.Select(input => input.Name).ToHashSet(StringComparer.Ordinal);
        var values = quantized.Values.Where(value => !inputs.Contains(value)).ToList();
        if (values.Count == 0)
        {
            return [];
        }

        using var single = Stateful(ProbedGraph.Open(model.Graph(), values, model.Folder));
        using var result = Stateful(ProbedGraph.Open(quantized.Graph, values, model.Folder));
        return GraphComparison.Run(single, result, values, samples.HeldOut.Take(8), cancellation).Differences;
    }

    private PairedTiming Time(string path, IReadOnlyCollection<NamedOnnxValue> sample)
    {
        progress?.Report(new RunProgress("time", 0, 1));
        using var single = Open(source, isDefault: true, threads: 1);
        using var result = Open(path, isDefault: true, threads: 1);
        return PairedTiming.Measure(single, result, sample, options.TimingLimit, cancellation);
    }

    private StatefulSession Open(string path, bool isDefault, int? threads = null) =>
        Stateful(OnnxRuntimeSession.Open(path, model.Path, threads ?? Environment.ProcessorCount, _ => { }, isDefault));

    private StatefulSession Stateful(InferenceSession session) => new(session, options.States);

    private sealed class StageProgress(IProgress<RunProgress>? progress, string stage, int total) : IProgress<int>
    {
        public void Report(int value) => progress?.Report(new RunProgress(stage, value, total));
    }
}
