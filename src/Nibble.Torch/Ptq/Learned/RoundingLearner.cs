using Nibble.Torch.Calibration;
using System.Diagnostics;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Ptq.Learned;

/// <summary>A layer whose rounding is to be learned.</summary>
/// <param name="Name">Its full name.</param>
/// <param name="Linear">The layer, which computes with what <paramref name="Start"/> stands for.</param>
/// <param name="Weight">The float weight, [out, in].</param>
/// <param name="Start">The codes and scales to start from.</param>
/// <param name="Learning">Which variant.</param>
internal sealed record LearningLayer(string Name, QuantizableLinear Linear, Tensor Weight, QuantizedTensor Start, RoundingLearning Learning);

/// <summary>Learns how the weights of a unit are rounded, all together, from what the float unit computes.</summary>
/// <remarks>
/// The loss is the error of <see cref="BlockReconstruction"/>, relative to what it was at first. Adam
/// (Kingma and Ba 2015) minimises it, its rate falling linearly to zero. The result is kept only where it lowers the error over
/// all calibration windows.
/// </remarks>
/// <param name="settings">How much to learn.</param>
/// <param name="seed">Drives the order of the windows.</param>
/// <param name="device">Where tensors are.</param>
/// <param name="progress">Told after each step.</param>
/// <param name="cancellation">Stops between steps and batches.</param>
internal sealed class RoundingLearner(PtqSettings settings, long seed, Device device, IProgress<RunProgress>? progress, CancellationToken cancellation)
{
    /// <summary>What a weight that is wholly undecided costs, where the whole error at first costs 1 and all weights together are 1.</summary>
    private const double PenaltyWeight = 1;

    /// <summary>The rate of the scales' logarithms, as a share of the learning rate.</summary>
    private const double ScaleRate = 0.03;

    /// <summary>How long the steps have taken, without what grows with the number of windows.</summary>
    public TimeSpan TrainingTime { get; private set; }

    /// <summary>Learns.</summary>
    /// <param name="unit">The unit, which afterwards computes with the learned weights.</param>
    /// <param name="inputs">What goes into it behind quantized units.</param>
    /// <param name="original">The float unit.</param>
    /// <param name="floats">What goes into it in the float model.</param>
    /// <param name="layers">The layers to learn, at least one.</param>
    /// <returns>The weights of the layers, in their order.</returns>
    /// <exception cref="NibbleException">The loss is no longer finite.</exception>
    public IReadOnlyList<QuantizedTensor> Learn(
        QuantizationUnit unit, ActivationStream inputs, QuantizationUnit original, ActivationStream floats, IReadOnlyList<LearningLayer> layers)
    {
        var reconstruction = new BlockReconstruction(unit, inputs, original, floats, device, cancellation);
        var before = reconstruction.Error();
        if (before == 0)
        {
            return [.. layers.Select(layer => layer.Start)];
        }

        var started = Stopwatch.GetTimestamp();
        var learned = Train(unit, reconstruction, layers, before);
        TrainingTime = Stopwatch.GetElapsedTime(started);
        Use(layers, learned);
        if (reconstruction.Error() < before)
        {
            return learned;
        }

        QuantizedTensor[] start = [.. layers.Select(layer => layer.Start)];
        Use(layers, start);
        return start;
    }

    private QuantizedTensor[] Train(QuantizationUnit unit, BlockReconstruction reconstruction, IReadOnlyList<LearningLayer> layers, double before)
    {
        LearnedWeight[] weights = [.. layers.Select(layer => LearnedWeight.Create(layer.Learning, layer.Weight, layer.Start))];
        try
        {
            foreach (var (layer, weight) in layers.Zip(weights))
            {
                layer.Linear.WeightQuantizer = weight;
            }

            // Only what is learned needs gradients.
            foreach (var (_, parameter) in unit.Parameters)
            {
                parameter.requires_grad_(false);
            }

            using var optimizer = CreateOptimizer(weights);
            var count = layers.Sum(layer => (double)layer.Start.Codes.Length);
            var windows = new WindowOrder(reconstruction.Windows, SeededRandom.Create(seed));
            for (var step = 0; step < settings.LearningSteps; step++)
            {
                cancellation.ThrowIfCancellationRequested();
                Step(step);
                progress?.Report(new RunProgress("learn", step + 1, settings.LearningSteps));
            }

            return Array.ConvertAll(weights, weight => weight.Convert());

            void Step(int step)
            {
                using var pause = CollectorPause.Begin();
                using var scope = NewDisposeScope();
                var done = step / (double)settings.LearningSteps;
                foreach (var group in optimizer.ParamGroups)
                {
                    group.LearningRate = group.InitialLearningRate * (1 - done);
                }

                var error = reconstruction.Error(windows.Next(Math.Min(settings.LearningBatch, reconstruction.Windows))) / before;
                var loss = weights.Aggregate(error, (sum, weight) => weight.Penalty(done) is { } penalty ? sum + (penalty * (PenaltyWeight / count)) : sum);
                var value = loss.item<float>();
                if (!float.IsFinite(value))
                {
                    throw new NibbleException(
                        $"{layers[0].Name} and the layers beside it: the loss of learned rounding became {value} at step {step + 1}; lower the learning rate "
                        + $"(it is {settings.LearningRate})");
                }

                optimizer.zero_grad();
                loss.backward();
                optimizer.step();
                Array.ForEach(weights, weight => weight.Constrain());
            }
        }
        finally
        {
            foreach (var layer in layers)
            {
                layer.Linear.WeightQuantizer = null;
            }

            Array.ForEach(weights, weight => weight.Dispose());
        }
    }

    private Adam CreateOptimizer(LearnedWeight[] weights)
    {
        Adam.ParamGroup Group(IEnumerable<Parameter> parameters, double rate) =>
            new(parameters, new Adam.Options { LearningRate = rate, InitialLearningRate = rate, beta1 = 0.9, beta2 = 0.99, eps = 1e-8 });
        return optim.Adam(
            [
                .. weights.Select(weight => Group([weight.Rounding], weight.RoundingRate * settings.LearningRate)),
                Group(weights.Select(weight => weight.Logarithm), ScaleRate * settings.LearningRate),
            ],
            settings.LearningRate);
    }

    private static void Use(IReadOnlyList<LearningLayer> layers, QuantizedTensor[] weights)
    {
        foreach (var (layer, weight) in layers.Zip(weights))
        {
            Conversion.CopyInto(layer.Linear.Weight, weight.Dequantize());
        }
    }
}
