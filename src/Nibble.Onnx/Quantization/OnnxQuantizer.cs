using Microsoft.ML.OnnxRuntime;
using Nibble.Onnx.Graphs;

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
    /// <param name="options">How to quantize. Default: 8 bits, static, for all processors.</param>
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

        var temporary = Directory.CreateTempSubdirectory("nibble-onnx-");
        try
        {
            var prepared = PreparedModel.Open(model, temporary.FullName);
            var split = new SampleSplit(samples, options);
            if (!split.IsHeldOut)
            {
                options.Logger?.NoneHeldBack();
            }

            var run = new OnnxQuantization(prepared, split, options, progress, cancellation);
            return run.Run(output);
        }
        finally
        {
            temporary.Delete(recursive: true);
        }
    }
}
