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

/// <summary>A layer whose rounding is learned.</summary>
/// <param name="Name">Its full name.</param>
/// <param name="Linear">The layer. It computes with the values of <paramref name="Start"/>.</param>
/// <param name="Weight">The float weight, [out, in].</param>
/// <param name="Start">The codes and scales to start from.</param>
/// <param name="Learning">The variant.</param>
internal sealed record LearningLayer(string Name, QuantizableLinear Linear, Tensor Weight, QuantizedTensor Start, RoundingLearning Learning);

/// <summary>Learns the rounding of all weights of a unit together, to match the output of the float unit.</summary>
/// <remarks>
/// The loss is the error of <see cref="BlockReconstruction"/> relative to its initial value. Adam (Kingma and Ba 2015) minimizes it with a linearly decreasing
/// rate. The result is kept only if it reduces the error over all calibration windows.
/// </remarks>
/// <param name="settings">The settings of learning.</param>
/// <param name="seed">The seed of the order of windows.</param>
/// <param name="device">The device of tensors.</param>
/// <param name="progress">Receives progress after each step.</param>
/// <param name="cancellation">Cancels between steps and batches.</param>
internal sealed class RoundingLearner(PtqSettings settings, long seed, Device device, IProgress<RunProgress>? progress, CancellationToken cancellation)
{
    /// <summary>The weight of the penalty if all weights are completely undecided, relative to the initial error of 1.</summary>
    private const double PenaltyWeight = 1;

    /// <summary>The rate of the scales' logarithms as a share of the learning rate.</summary>
    private const double ScaleRate = 0.03;

    /// <summary>The duration of the steps, without the part that grows with the number of windows.</summary>
    public TimeSpan TrainingTime { get; private set; }

    /// <summary>Learns the rounding.</summary>
    /// <param name="unit">The unit. Afterwards it computes with the learned weights.</param>
    /// <param name="inputs">Its inputs after quantized units.</param>
    /// <param name="original">The float unit.</param>
    /// <param name="floats">Its inputs in the float model.</param>
    /// <param name="layers">The layers to learn, at least one.</param>
    /// <returns>The weights of the layers, in the same order.</returns>
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

            // Only learned parameters need gradients.
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

                var error = reconstruction.Error(windows.Next(Math.Min(settings.LearningBatch, reconstruction.Windows))).DividedBy(before);
                var loss = weights.Aggregate(
                    error, (sum, weight) => weight.Penalty(done) is { } penalty ? sum.Plus(penalty.Times(PenaltyWeight / count)) : sum);
                var value = loss.item<float>();
                if (!float.IsFinite(value))
                {
                    throw new NibbleException(
                        $"{layers[0].Name} and other layers: the loss of learned rounding became {value} at step {step + 1}. Lower the learning rate "
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
