using Nibble.Algorithms.RoundToNearest;
using Nibble.Artifacts;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Models;

namespace Nibble.Torch.Ptq;

/// <summary>The first road: quantizes a trained model without training it.</summary>
public static class PostTrainingQuantizer
{
    /// <summary>Quantizes a model.</summary>
    /// <param name="source">The float model; unchanged afterwards.</param>
    /// <param name="recipe">What to do with each layer.</param>
    /// <param name="text">Calibration text; null is enough when the recipe has no static activations.</param>
    /// <param name="calibration">How much of the text is used.</param>
    /// <param name="seed">Recorded in the artifact; round to nearest draws nothing at random.</param>
    /// <param name="progress">Told after each window and each layer.</param>
    /// <param name="cancellation">Stops between windows and layers.</param>
    /// <exception cref="NibbleException">The recipe matches no layer, or needs text that is missing.</exception>
    public static QuantizedModel Run(
        LoadedModel source,
        Recipe recipe,
        TokenizedText? text,
        CalibrationOptions calibration,
        long seed,
        IProgress<RunProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(recipe);
        var chosen = source.Model.Linears.Where(linear => recipe.RuleFor(linear.Key) is not null).ToList();
        RequireLayers(chosen.Count, source, recipe);
        var inputs = ActivationCalibration.Run(source.Model, recipe, text, calibration, progress, cancellation);
        var layers = new List<QuantizedLayer>(chosen.Count);
        foreach (var (name, linear) in chosen)
        {
            cancellation.ThrowIfCancellationRequested();
            var rule = recipe.RuleFor(name)!;
            try
            {
                var weight = RoundToNearest.Quantize(Conversion.ValuesOf(linear.Weight), linear.OutFeatures, linear.InFeatures, rule.Weights!, rule.Range);
                layers.Add(new QuantizedLayer(name, weight, inputs.GetValueOrDefault(name)));
            }
            catch (NibbleException exception)
            {
                throw new NibbleException($"{source.Name}, {name}: {exception.Message}", exception);
            }

            progress?.Report(new RunProgress("quantize", layers.Count, chosen.Count));
        }

        return Conversion.Assemble(source, layers, recipe, "ptq", seed, new Dictionary<string, double>());
    }

    /// <summary>Refuses a recipe that would quantize nothing.</summary>
    internal static void RequireLayers(int matched, LoadedModel source, Recipe recipe)
    {
        if (matched == 0)
        {
            throw new NibbleException($"the recipe '{recipe.Name}' matches none of the {source.Model.Linears.Count} linear layers of {source.Name}, so nothing would be quantized; their names look like '{source.Model.Linears[0].Key}'");
        }
    }
}
