using Nibble.Torch.Qat;
using Nibble.Torch.Training;
using Nibble.Artifacts;
using Nibble.Recipes;
using static TorchSharp.torch;

namespace Nibble.Torch.Modules;

/// <summary>Quantization-aware training of any TorchSharp module with Nibble's training loop.</summary>
internal static class ModuleTrainer
{
    /// <summary>Trains a module through its quantizers and converts it.</summary>
    /// <param name="module">The trained float module. Afterwards it is prepared, in evaluation mode, and computes the same as the result.</param>
    /// <param name="recipe">What to do with each layer, and how to train (<see cref="Recipe.Qat"/>).</param>
    /// <param name="loss">Returns the mean loss of a batch, a scalar with a gradient, for the batch's number, from 0.</param>
    /// <param name="options">The other options.</param>
    /// <param name="progress">Receives progress after each step.</param>
    /// <param name="cancellation">Cancels between steps.</param>
    /// <exception cref="NibbleException">
    /// The recipe needs a model that Nibble supports, the module cannot be quantized with it, or training diverged.
    /// </exception>
    public static QuantizedModel Run(
        nn.Module module, Recipe recipe, Func<int, Tensor> loss, ModuleOptions options, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        var settings = recipe.Qat;
        Refuse(settings.Mode != TrainingMode.Full, $"uses the training mode {settings.Mode}; use full");
        Refuse(settings.Distillation is not null, "uses distillation; remove it, and compare with a teacher in your own loss");
        Refuse(settings.EvaluateEvery > 0, "evaluates held-out data; set evaluateEvery to 0");
        var prepared = QuantizationAware.Prepare(module, recipe, options.Prepare);
        foreach (var warning in prepared.Summary.Warnings)
        {
            options.Logger?.Advise(warning);
        }

        if (options.Batches is { } batches)
        {
            prepared.Calibrate(batches);
        }

        var task = new TrainingTask(
            TrainingPlan.Groups(module, prepared, settings),
            (step, part) => TrainingPlan.Dampened(loss(((step - 1) * settings.Accumulation) + part), prepared, settings, step))
        {
            States = [.. prepared.States],
            BeginStep = step => prepared.BeginStep(step, settings.Steps),
            SettledStep = TrainingPlan.SettledStep(settings),
        };
        var loop = new TrainingLoop(task, settings);
        module.train();
        try
        {
            loop.Run(options.Checkpoints, progress, cancellation);
        }
        finally
        {
            module.eval();
        }

        var metrics = new Dictionary<string, double> { [QuantizationAwareTrainer.FinalLossMetric] = loop.Losses[^1].Loss };
        return prepared.Convert(options.Seed, metrics) with { Summary = prepared.Summary };

        void Refuse(bool wrong, string fault)
        {
            if (wrong)
            {
                throw new NibbleException(
                    $"the recipe '{recipe.Name}' {fault}: a module of your own is trained as a whole with the loss that you pass");
            }
        }
    }
}
