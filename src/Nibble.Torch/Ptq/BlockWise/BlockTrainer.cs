using Nibble.Torch.Native;
using Nibble.Torch.Training;
using Nibble.Artifacts;
using Nibble.Recipes;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq.Learned;
using TorchSharp.Modules;

namespace Nibble.Torch.Ptq.BlockWise;

/// <summary>
/// Trains the weights and scales of a decoder block to match the output of the float block: Block-AP (EfficientQAT, Chen et al. 2024, section 3.2).
/// </summary>
/// <remarks>
/// If the weights were rounded to nearest, training starts from the float weights. Otherwise it starts from the values of the codes. The loss is the error of
/// <see cref="BlockReconstruction"/> relative to its initial value. Norms, biases and the ranges of inputs are not trained. The result is kept only if it
/// reduces the error over all windows.
/// </remarks>
/// <param name="settings">The training settings.</param>
/// <param name="seed">The seed of the order of windows.</param>
/// <param name="progress">Receives progress after each step.</param>
/// <param name="cancellation">Cancels between steps and batches.</param>
internal sealed class BlockTrainer(QatSettings settings, long seed, IProgress<RunProgress>? progress, CancellationToken cancellation)
{
    /// <summary>Trains the block.</summary>
    /// <param name="unit">The block. It computes with the values of <paramref name="layers"/>, and afterwards with those of the result.</param>
    /// <param name="original">The float block.</param>
    /// <param name="reconstruction">Compares the two.</param>
    /// <param name="layers">The quantized layers to start from, at least one.</param>
    /// <returns>The trained layers, in the same order.</returns>
    /// <exception cref="NibbleException">The loss is no longer finite or has exploded.</exception>
    public List<QuantizedLayer> Train(QuantizationUnit unit, QuantizationUnit original, BlockReconstruction reconstruction, List<QuantizedLayer> layers)
    {
        var before = reconstruction.Error();
        if (before == 0)
        {
            return layers;
        }

        var linears = unit.Linears.ToDictionary();
        var floats = original.Linears.ToDictionary();
        foreach (var (_, parameter) in unit.Parameters)
        {
            parameter.requires_grad_(false);
        }

        var quantizers = new List<WeightFakeQuantizer>();
        foreach (var layer in layers)
        {
            var linear = linears[layer.Name];
            if (settings.Start == WeightAlgorithms.RoundToNearest)
            {
                Conversion.CopyInto(linear.Weight, Conversion.ValuesOf(floats[layer.Name].Weight));
            }

            linear.Weight.requires_grad_(true);
            var quantizer = WeightFakeQuantizer.Create(settings.Estimator, layer.Weight.Scheme, linear.Weight, layer.Weight);
            linear.WeightQuantizer = quantizer;
            quantizers.Add(quantizer);
        }

        Optimize(reconstruction, layers, [.. layers.Select(layer => linears[layer.Name].Weight)], quantizers, before);
        List<QuantizedLayer> trained = [.. layers.Zip(quantizers, (layer, quantizer) => layer with { Weight = quantizer.Convert(linears[layer.Name].Weight) })];
        Use(trained);
        if (reconstruction.Error() < before)
        {
            return trained;
        }

        Use(layers);
        return layers;

        void Use(List<QuantizedLayer> chosen)
        {
            foreach (var layer in chosen)
            {
                linears[layer.Name].WeightQuantizer = null;
                Conversion.CopyInto(linears[layer.Name].Weight, layer.Weight.Dequantize());
            }
        }
    }

    private void Optimize(BlockReconstruction reconstruction, List<QuantizedLayer> layers, Parameter[] weights, List<WeightFakeQuantizer> quantizers,
        double before)
    {
        var windows = new WindowOrder(reconstruction.Windows, SeededRandom.Create(seed));
        var task = new TrainingTask(
            [
                new ParameterGroup("weights", weights, settings.LearningRate, settings.WeightDecay),
                new ParameterGroup("scales", [.. quantizers.SelectMany(quantizer => quantizer.Parameters)], settings.ScaleLearningRate, 0) { Averaged = false },
            ],
            (_, _) => reconstruction.Error(windows.Next(Math.Min(settings.BatchSize / settings.Accumulation, reconstruction.Windows))).DividedBy(before));
        var steps = settings with { Steps = settings.BlockSteps, EvaluateEvery = 0, Patience = 0 };
        try
        {
            new TrainingLoop(task, steps).Run(checkpoints: null, progress is null ? null : new Learning(progress), cancellation);
        }
        catch (NibbleException exception)
        {
            throw new NibbleException($"{layers[0].Name} and the other layers of the block: {exception.Message}", exception);
        }
    }

    /// <summary>Reports block-wise training under a different stage than training of the whole model, because it restarts with each block.</summary>
    private sealed class Learning(IProgress<RunProgress> progress) : IProgress<RunProgress>
    {
        public void Report(RunProgress value) => progress.Report(new RunProgress("learn", value.Done, value.Total));
    }
}
