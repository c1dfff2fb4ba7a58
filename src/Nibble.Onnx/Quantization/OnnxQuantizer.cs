using Microsoft.ML.OnnxRuntime;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Quantization.Equivalence;
using Nibble.Onnx.Quantization.Estimation;

namespace Nibble.Onnx.Quantization;

/// <summary>Quantizes any ONNX graph, so that ONNX Runtime computes it with integers, and compares the result with the float model.</summary>
/// <remarks>Safe to use from several threads at once.</remarks>
public static class OnnxQuantizer
{
    /// <summary>Quantizes a model.</summary>
    /// <param name="model">The float ONNX file.</param>
    /// <param name="output">The file to write. It must not exist. It appears when it has been compared with the float model.</param>
    /// <param name="samples">
    /// What the model's inputs are in use, one run each. Every fifth sample is held back from calibration, to compare on. Enumerated several times; nothing is
    /// kept. The modes without calibration use them only to compare.
    /// </param>
    /// <param name="options">How to quantize. Default: the fastest mode, 8 bits, for all processors.</param>
    /// <param name="progress">Takes what has been done.</param>
    /// <param name="cancellation">Stops the work. Nothing is left behind.</param>
    /// <exception cref="NibbleException">The model or the samples cannot be used. The message explains why.</exception>
    /// <exception cref="OperationCanceledException">The work was cancelled.</exception>
    public static OnnxQuantizationResult Run(
        string model,
        string output,
        IEnumerable<IReadOnlyCollection<NamedOnnxValue>> samples,
        OnnxQuantizationOptions? options = null,
        IProgress<RunProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(output);
        ArgumentNullException.ThrowIfNull(samples);
        options ??= new OnnxQuantizationOptions();
        foreach (var file in (string[])[output, OnnxWriter.DataPath(output)])
        {
            if (Path.Exists(file))
            {
                throw new NibbleException($"{file} exists already. Remove it, or choose another name.");
            }
        }

        return Prepared(model, samples, options, (prepared, split) =>
        {
            prepared.Memory = options.MemoryBytes is null ? MemoryPlan.Unlimited
                : QuantizationEstimation.Run(prepared, split, options, cancellation).Memory;
            HeldMemory.Release();
            return new OnnxQuantization(prepared, split, options, progress, cancellation).Run(output);
        });
    }

    /// <summary>Predicts what <see cref="Run"/> would do, without calibrating or writing.</summary>
    /// <param name="model">The float ONNX file.</param>
    /// <param name="samples">What the model's inputs are in use. Only as many are read as are needed to know the largest, and one is run.</param>
    /// <param name="options">How to quantize, and how much memory it may take.</param>
    /// <param name="cancellation">Stops the work.</param>
    /// <exception cref="NibbleException">The model or the samples cannot be used, or the memory does not suffice. The message explains why.</exception>
    internal static OnnxQuantizationEstimate Estimate(
        string model,
        IEnumerable<IReadOnlyCollection<NamedOnnxValue>> samples,
        OnnxQuantizationOptions options,
        CancellationToken cancellation = default) =>
        Prepared(model, samples, options, (prepared, split) => QuantizationEstimation.Run(prepared, split, options, cancellation));

    /// <summary>Measures what quantizing each convolution and each product alone does to the outputs. Writes nothing.</summary>
    /// <param name="model">The float ONNX file.</param>
    /// <param name="samples">
    /// What the model's inputs are in use, one run each. Every fifth sample is held back from calibration, to measure on. Enumerated several times; the few
    /// that are measured on are kept.
    /// </param>
    /// <param name="options">How to quantize, always static. Default: 8 bits, for all processors.</param>
    /// <param name="progress">Takes what has been done.</param>
    /// <param name="cancellation">Stops the work.</param>
    /// <exception cref="NibbleException">The model or the samples cannot be used, or no node can be quantized. The message explains why.</exception>
    /// <exception cref="OperationCanceledException">The work was cancelled.</exception>
    public static OnnxSensitivityResult Sensitivity(
        string model,
        IEnumerable<IReadOnlyCollection<NamedOnnxValue>> samples,
        OnnxQuantizationOptions? options = null,
        IProgress<RunProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(samples);
        options ??= new OnnxQuantizationOptions();
        return Prepared(model, samples, options, (prepared, split) =>
        {
            var (equivalent, _) = EquivalentModel.Of(prepared, split.Calibration, options, progress, cancellation);
            var quantizer = StaticQuantizer.Calibrate(
                equivalent, split.Calibration, options, new OnnxQuantization.StageProgress(progress, "calibrate", options.Samples), cancellation);
            if (quantizer.WeightedNodes().Count == 0)
            {
                throw new NibbleException($"{model}: no convolution and no product by a constant can be quantized, so there is nothing to measure.");
            }

            using var measurement = new MixedPrecision(equivalent, quantizer, split.HeldOut, options, progress, cancellation);
            return new OnnxSensitivityResult
            {
                Nodes = [.. measurement.Measure().OrderByDescending(node => node.Loss).ThenBy(node => node.Node, StringComparer.Ordinal)],
                CalibrationSamples = quantizer.Samples,
                MeasuredSamples = measurement.Samples,
                IsHeldOut = split.IsHeldOut,
            };
        });
    }

    /// <summary>Works on a prepared model, whose temporary files are gone afterwards.</summary>
    private static T Prepared<T>(
        string model, IEnumerable<IReadOnlyCollection<NamedOnnxValue>> samples, OnnxQuantizationOptions options, Func<PreparedModel, SampleSplit, T> work)
    {
        var temporary = Directory.CreateTempSubdirectory("nibble-onnx-");
        try
        {
            var prepared = PreparedModel.Open(model, temporary.FullName);
            var split = new SampleSplit(samples, options);
            if (!split.IsHeldOut)
            {
                options.Logger?.NoneHeldBack();
            }

            return work(prepared, split);
        }
        finally
        {
            temporary.Delete(recursive: true);
        }
    }
}
