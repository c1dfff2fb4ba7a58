using Nibble.Torch.Ptq;
using Nibble.Algorithms;
using Nibble.Artifacts;
using Nibble.Recipes;
using Nibble.Torch.Models;
using Nibble.Torch.Qat;
using static TorchSharp.torch;

namespace Nibble.Torch.Modules;

/// <summary>
/// PTQ for any TorchSharp module. Weights are rounded to nearest with the ranges of their rules, inputs are calibrated, and batch normalizations are folded.
/// </summary>
/// <remarks>Other algorithms need a model whose blocks Nibble supports. See <see cref="PostTrainingQuantizer"/>.</remarks>
internal static class ModuleQuantizer
{
    /// <summary>Quantizes a module.</summary>
    /// <param name="module">The trained float module. Afterwards it is prepared and computes the same as the result.</param>
    /// <param name="recipe">What to do with each layer.</param>
    /// <param name="batches">
    /// Inputs to calibrate static activations with. They are read once, and only if the recipe has static activations. Each is disposed after use.
    /// </param>
    /// <param name="seed">The seed with which <paramref name="batches"/> were drawn. It is recorded in the result.</param>
    /// <param name="options">What is known about the module, for example which batch normalization belongs to which convolution.</param>
    /// <param name="progress">Receives progress after each layer.</param>
    /// <param name="cancellation">Cancels between layers and batches.</param>
    /// <exception cref="NibbleException">
    /// The recipe names an algorithm other than round to nearest, or the module or the data cannot be quantized this way.
    /// </exception>
    public static QuantizedModel Run(
        nn.Module<Tensor, Tensor> module,
        Recipe recipe,
        IEnumerable<Tensor> batches,
        long seed,
        PrepareOptions? options = null,
        IProgress<RunProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(module);
        ArgumentNullException.ThrowIfNull(recipe);
        ArgumentNullException.ThrowIfNull(batches);
        recipe.RequirePtq();
        if (recipe.Rules.FirstOrDefault(rule => rule is { Weights: not null } && rule.Algorithms != WeightAlgorithms.RoundToNearest) is { } other)
        {
            throw new NibbleException(
                $"the recipe '{recipe.Name}' chooses the weights of '{other.Pattern}' by {other.Algorithms}, but a module of your own can only be "
                + $"rounded to nearest (rtn)");
        }

        var summary = QuantizationAware.Summarize(ModuleTree.Nodes(module).Where(node => QuantizationAware.IsLayer(node.Module)), recipe, Method.Ptq);

        // Learned scales keep their initial values as long as nothing trains them.
        var learned = recipe with
        {
            Rules = [.. recipe.Rules.Select(rule => rule with { WeightMethod = null, ActivationMethod = null })],
            Qat = recipe.Qat with { Estimator = GradientEstimator.LearnedScale, Activations = ActivationEstimator.LearnedScale, Schedule = new QatSchedule() },
        };
        var prepared = QuantizationAware.Prepare(module, learned, options);
        var done = 0;
        foreach (var layer in prepared.Prepared)
        {
            cancellation.ThrowIfCancellationRequested();
            using var scope = NewDisposeScope();
            using var guard = no_grad();
            var weight = layer.Layer.FoldedWeight;
            var rows = (int)weight.shape[0];
            var columns = (int)(weight.numel() / rows);
            var rounded = NamedFault.In(layer.Name, () =>
                RoundToNearest.Quantize(Conversion.ValuesOf(weight), rows, columns, layer.Rule.Weights!, layer.Rule.Range));
            layer.Weight.Restart(weight, rounded);
            progress?.Report(new RunProgress("quantize", ++done, prepared.Prepared.Count));
        }

        prepared.Calibrate(batches.TakeWhile(_ =>
        {
            cancellation.ThrowIfCancellationRequested();
            return true;
        }));
        module.eval();
        return ModuleConversion.Convert(prepared, recipe, "ptq", seed, new Dictionary<string, double>()) with { Summary = summary };
    }
}
