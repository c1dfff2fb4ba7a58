using Nibble.Torch.Modules;
using Nibble.Formats.CompressedTensors;
using System.Diagnostics;
using System.Globalization;
using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Native;
using Nibble.Torch.Qat;
using static TorchSharp.torch;

namespace Nibble.Torch.Benchmarks;

/// <summary>ResNet-20 on CIFAR-10 in float, quantized after training and by training.</summary>
internal static class ResNetRuns
{
    private const int BatchSize = 64;
    private const int CalibrationImages = 256;

    /// <summary>Goes one road and prints a line: road, widths, seed, top-1 of jpeg-test-2000 and of lossless-100 in per cent, seconds, most memory in
    /// MiB.</summary>
    /// <param name="folder">The folder of the weights and images.</param>
    /// <param name="threads">Threads of libtorch.</param>
    /// <param name="method"><c>float</c> as given, <c>control</c> trained in float as QAT trains, <c>ptq</c> or <c>qat</c>.</param>
    /// <param name="widths">Bits of weights and activations, such as <c>w4a4</c>; the first convolution and the last layer have 8 and 8.</param>
    /// <param name="seed">Drives the order, the flips and the shifts of the images.</param>
    /// <param name="epochs">Times that the training images are gone through.</param>
    /// <param name="images">Training images, at most 8000.</param>
    public static void Run(string folder, int threads, string method, string widths, int seed, int epochs, int images)
    {
        set_num_threads(threads);
        var clock = Stopwatch.StartNew();
        using var network = ResNet20.Open(Path.Combine(folder, "resnet20-12fca82f.safetensors"));
        var training = new CifarImages(Path.Combine(folder, "cifar10-jpeg-train-8000.bin"), images);
        var settings = new QatSettings { Schedule = new QatSchedule { BatchNormFreeze = 0.5, ObserverFreeze = 0.5 } };
        switch (method)
        {
            case "float":
                Print(network);
                break;
            case "control":
                Train(network, training, network.parameters(), [], seed, epochs, null);
                Print(network);
                break;
            case "ptq":
                PrintStored(ModuleQuantizer.Run(network, Recipe(widths, settings), Calibration(training), seed));
                break;
            case "qat":
                var prepared = QuantizationAware.Prepare(network, Recipe(widths, settings));
                prepared.Calibrate(Calibration(training));
                Train(network, training, network.parameters(), prepared.ScaleParameters, seed, epochs, prepared);
                PrintStored(prepared.Convert(seed));
                break;
            default:
                throw new ArgumentException($"{method} is no road; there are float, control, ptq and qat.", nameof(method));
        }

        void PrintStored(QuantizedModel model)
        {
            // What is scored is what ships: the model is written and read back.
            var artifact = Directory.CreateTempSubdirectory("nibble-resnet-").FullName;
            QuantizedModelFile.Save(model, Path.Combine(artifact, "model"));
            using var deployed = new ResNet20();
            QuantizationAware.Load(deployed, QuantizedModelFile.Load(Path.Combine(artifact, "model")));
            Directory.Delete(artifact, recursive: true);
            Print(deployed);
        }

        void Print(nn.Module<Tensor, Tensor> scored)
        {
            var seconds = clock.Elapsed.TotalSeconds;
            using var process = Process.GetCurrentProcess();
            var peak = process.PeakWorkingSet64 / 1048576d;
            var test = 100 * new CifarImages(Path.Combine(folder, "cifar10-jpeg-test-2000.bin")).Accuracy(scored);
            var lossless = 100 * new CifarImages(Path.Combine(folder, "cifar10-test-first100.bin")).Accuracy(scored);
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{method}\t{widths}\t{seed}\t{test:F2}\t{lossless:F2}\t{seconds:F1}\t{peak:F0}"));
        }
    }

    /// <summary>Weights symmetric per channel (at 2 bits on the grid without zero), inputs asymmetric per tensor; both ranges with the least squared
    /// error.</summary>
    internal static Recipe Recipe(string widths, QatSettings settings)
    {
        var (weights, activations) = (widths[1] - '0', widths[3] - '0');
        RecipeRule Rule(string pattern, int weightBits, int inputBits) => new(
            pattern,
            weightBits == 2 ? QuantizationScheme.CreateStretched(2, Granularity.Channel)
                : new QuantizationScheme(weightBits, symmetric: true, Granularity.Channel),
            new ActivationRule(new QuantizationScheme(inputBits, symmetric: false, Granularity.Tensor), ObserverKind.Mse),
            WeightRange.Mse);
        return new Recipe(widths, [Rule("conv1", 8, 8), Rule("linear", 8, 8), Rule("*", weights, activations)]) { Qat = settings };
    }

    private static IEnumerable<Tensor> Calibration(CifarImages training)
    {
        for (var start = 0; start < Math.Min(CalibrationImages, training.Count); start += BatchSize)
        {
            var (images, labels) = training.Batch(start, BatchSize);
            labels.Dispose();
            yield return images;
        }
    }

    private static void Train(
        nn.Module<Tensor, Tensor> network, CifarImages training, IEnumerable<TorchSharp.Modules.Parameter> weights,
        IEnumerable<TorchSharp.Modules.Parameter> scales, int seed, int epochs, PreparedModel? prepared)
    {
        const double Rate = 1e-3;
        const double ScaleRate = 1e-2;
        var random = new Random(seed);
        var perEpoch = training.Count / BatchSize;
        var steps = perEpoch * epochs;
        using var optimizer = optim.Adam(weights, Rate);
        using var scaleOptimizer = scales.Any() ? optim.Adam(scales, ScaleRate) : null;
        network.train();
        var order = Array.Empty<int>();
        for (var step = 0; step < steps; step++)
        {
            if (step % perEpoch == 0)
            {
                order = [.. Enumerable.Range(0, training.Count)];
                random.Shuffle(order);
            }

            var share = (1 + Math.Cos(Math.PI * step / steps)) / 2;
            optimizer.ParamGroups.First().LearningRate = Rate * share;
            foreach (var group in scaleOptimizer?.ParamGroups ?? [])
            {
                group.LearningRate = ScaleRate * share;
            }

            using var pause = CollectorPause.Begin();
            using var scope = NewDisposeScope();
            prepared?.BeginStep(step + 1, steps);
            var (images, labels) = training.Batch(order.AsSpan(step % perEpoch * BatchSize, BatchSize).ToArray(), random);
            var loss = nn.functional.cross_entropy(network.forward(images), labels);
            optimizer.zero_grad();
            scaleOptimizer?.zero_grad();
            loss.backward();
            optimizer.step();
            scaleOptimizer?.step();
        }

        prepared?.Complete();
    }
}
