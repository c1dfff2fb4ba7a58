using Nibble.Torch.Qat;
using Nibble.Torch.Training;
using Nibble.Artifacts;
using Nibble.Recipes;
using static TorchSharp.torch;

namespace Nibble.Torch.Modules;

/// <summary>Quantization-aware training of any TorchSharp module, with Nibble's loop.</summary>
internal static class ModuleTrainer
{
    /// <summary>Trains a module through its quantizers and converts it.</summary>
    /// <param name="module">The trained float module; afterwards it is prepared, in evaluation, and computes what the result does.</param>
    /// <param name="recipe">What to do with each layer, and in <see cref="Recipe.Qat"/> how to train.</param>
    /// <param name="loss">The mean loss of a batch, a scalar with a gradient, by the batch's number, from 0.</param>
    /// <param name="options">How else.</param>
    /// <param name="progress">Told after each step.</param>
    /// <param name="cancellation">Stops between steps.</param>
    /// <exception cref="NibbleException">
    /// The recipe asks for what needs a model that Nibble knows, the module cannot be quantized so, or the training has diverged.
    /// </exception>
    public static QuantizedModel Run(
        nn.Module module, Recipe recipe, Func<int, Tensor> loss, ModuleOptions options, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        var settings = recipe.Qat;
        Refuse(settings.Mode != TrainingMode.Full, $"trains in the mode {settings.Mode}; use full");
        Refuse(settings.Distillation is not null, "learns from a teacher; leave distillation out, and let the loss compare with one");
        Refuse(settings.EvaluateEvery > 0, "looks at data that are held out; leave evaluateEvery at 0");
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
                    $"the recipe '{recipe.Name}' {fault}: a module that Nibble does not know is trained as a whole, by the loss that is given");
            }
        }
    }
}
