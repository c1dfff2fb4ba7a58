using Microsoft.ML.OnnxRuntime;

namespace Nibble.Onnx.Quantization.Equivalence;

/// <summary>Makes of a float model one that computes the same and is easier to quantize.</summary>
internal static class EquivalentModel
{
    /// <summary>Applies the transformations of the options. Without any, the result is the model itself.</summary>
    /// <param name="model">The float model. It is not changed.</param>
    /// <param name="samples">The samples of the calibration.</param>
    /// <param name="options">The options.</param>
    /// <param name="progress">Takes what has been done.</param>
    /// <param name="cancellation">Stops the work.</param>
    /// <returns>The model, and what was done.</returns>
    /// <exception cref="NibbleException">There are no samples, one does not fit the model, or a pattern of the options matches no node.</exception>
    public static (PreparedModel Model, IReadOnlyList<GraphTransformation> Transformations) Of(
        PreparedModel model,
        IEnumerable<IReadOnlyCollection<NamedOnnxValue>> samples,
        OnnxQuantizationOptions options,
        IProgress<RunProgress>? progress,
        CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(options);
        if (!(options.SmoothingStrength is >= 0 and <= 1))
        {
            throw new NibbleException($"The strength of smoothing is {options.SmoothingStrength}, expected a number from 0 to 1.");
        }

        if (!options.EqualizesLayers && !options.SmoothsActivations)
        {
            return (model, []);
        }

        var graph = model.Graph();
        var objection = new NodeFilter(graph, options.Exclude, options.Only).Objection;
        var transformations = new List<GraphTransformation>();
        if (options.EqualizesLayers)
        {
            transformations.Add(CrossLayerEqualization.Apply(graph, objection, cancellation));
        }

        if (options.SmoothsActivations)
        {
            var samplesSoFar = new OnnxQuantization.StageProgress(progress, "smooth", options.Samples);
            transformations.Add(ActivationSmoothing.Apply(graph, objection, samples, options, model, samplesSoFar, cancellation));
        }

        foreach (var idle in transformations.Where(transformation => transformation.Groups.Count == 0))
        {
            options.Logger?.NothingTransformed(
                idle.Name,
                idle.Skipped.Count == 0 ? "the model has no layers of the kind that it changes"
                    : idle.Skipped.GroupBy(layer => layer.Reason).MaxBy(group => group.Count())!.Key);
        }

        return (model.With(graph), transformations);
    }
}
