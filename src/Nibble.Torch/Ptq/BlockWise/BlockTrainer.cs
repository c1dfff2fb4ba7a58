using Nibble.Torch.Training;
using Nibble.Artifacts;
using Nibble.Recipes;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq.Learned;
using TorchSharp.Modules;

namespace Nibble.Torch.Ptq.BlockWise;

/// <summary>Trains the weights and scales of a decoder block against what the float block computes: Block-AP (EfficientQAT, Chen et al. 2024, section
/// 3.2).</summary>
/// <remarks>
/// Training begins with the float weights where they were rounded to nearest, and otherwise with the values of the codes that were found. The
/// loss is the error of <see cref="BlockReconstruction"/>, relative to what it was at first. Norms and biases stay, and so do the ranges of
/// inputs. The result is kept only where it lowers the error over all windows.
/// </remarks>
/// <param name="settings">How to train.</param>
/// <param name="seed">Drives the order of the windows.</param>
/// <param name="progress">Told after each step.</param>
/// <param name="cancellation">Stops between steps and batches.</param>
internal sealed class BlockTrainer(QatSettings settings, long seed, IProgress<RunProgress>? progress, CancellationToken cancellation)
{
    /// <summary>Trains.</summary>
    /// <param name="unit">The block, which computes with what <paramref name="layers"/> stand for, and afterwards with what is returned.</param>
    /// <param name="original">The float block.</param>
    /// <param name="reconstruction">Compares the two.</param>
    /// <param name="layers">The quantized layers to start from, at least one.</param>
    /// <returns>The trained layers, in their order.</returns>
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
            (_, _) => reconstruction.Error(windows.Next(Math.Min(settings.BatchSize / settings.Accumulation, reconstruction.Windows))) / before);
        var steps = settings with { Steps = settings.BlockSteps, EvaluateEvery = 0, Patience = 0 };
        try
        {
            new TrainingLoop(task, steps).Run(checkpoints: null, progress is null ? null : new Learning(progress), cancellation);
        }
        catch (NibbleException exception)
        {
            throw new NibbleException($"{layers[0].Name} and the layers beside it: {exception.Message}", exception);
        }
    }

    /// <summary>Tells block-wise training, which begins anew with each block, from that of the whole model.</summary>
    private sealed class Learning(IProgress<RunProgress> progress) : IProgress<RunProgress>
    {
        public void Report(RunProgress value) => progress.Report(new RunProgress("learn", value.Done, value.Total));
    }
}
