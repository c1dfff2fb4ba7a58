using System.CommandLine;
using System.Globalization;
using Nibble.Recipes;
using Nibble.Torch;
using Nibble.Torch.Native;
using TorchSharp;

namespace Nibble.Benchmarks.EncoderTable;

/// <summary><c>train</c>: trains the float model alone, to choose its shape and how it is trained.</summary>
internal static class TrainCommand
{
    public static Command Create()
    {
        var preset = new SmallBert();
        var data = new Argument<DirectoryInfo>("data") { Description = "a folder with sst2/ and bert-vocab/" };
        var seed = new Option<int>("--seed") { Description = "drives the first weights, the batches and dropout", DefaultValueFactory = _ => 1 };
        var threads = new Option<int>("--threads") { DefaultValueFactory = _ => 1 };
        var least = new Option<int>("--least") { Description = "how often a token must occur to be in the vocabulary; 0 keeps all", DefaultValueFactory = _ => preset.LeastOccurrences };
        var hidden = new Option<int>("--hidden") { DefaultValueFactory = _ => preset.Hidden };
        var intermediate = new Option<int>("--intermediate") { DefaultValueFactory = _ => preset.Intermediate };
        var layers = new Option<int>("--layers") { DefaultValueFactory = _ => preset.Layers };
        var dropout = new Option<double>("--dropout") { DefaultValueFactory = _ => preset.Dropout };
        var masked = new Option<double>("--masked") { DefaultValueFactory = _ => preset.MaskedShare };
        var epochs = new Option<int>("--epochs") { DefaultValueFactory = _ => preset.Epochs };
        var rate = new Option<double>("--rate") { DefaultValueFactory = _ => preset.Training.LearningRate };
        var command = new Command("train", "Train the float model from scratch and score it") { data, seed, threads, least, hidden, intermediate, layers, dropout, masked, epochs, rate };
        command.SetAction((parsed, cancellation) =>
        {
            var shape = preset with
            {
                LeastOccurrences = parsed.GetValue(least),
                Hidden = parsed.GetValue(hidden),
                Intermediate = parsed.GetValue(intermediate),
                Layers = parsed.GetValue(layers),
                Dropout = parsed.GetValue(dropout),
                MaskedShare = parsed.GetValue(masked),
                Epochs = parsed.GetValue(epochs),
                Training = preset.Training with { LearningRate = parsed.GetValue(rate) },
            };
            TorchRuntime.EnsureLoaded();
            torch.set_num_threads(parsed.GetValue(threads));
            Train(shape, parsed.GetRequiredValue(data).FullName, parsed.GetValue(seed), cancellation);
            return Task.CompletedTask;
        });
        return command;
    }

    private static void Train(SmallBert shape, string data, int seed, CancellationToken cancellation)
    {
        using var roads = new Roads(data, shape, new QatSettings(), seed, new StepLines(), cancellation);
        var outcome = roads.TrainFloat();
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"seed {seed}: dev {outcome.Dev:F2} %, test {outcome.Test:F2} %, {outcome.Cost.Seconds:F0} s, {outcome.Cost.PeakBytes / 1048576} MiB"));
    }
}

/// <summary>A line every hundred steps.</summary>
internal sealed class StepLines : IProgress<RunProgress>
{
    private double sum;

    public void Report(RunProgress value)
    {
        sum += value.Loss ?? 0;
        if (value.Done % 100 == 0)
        {
            Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"step {value.Done}/{value.Total}  loss {sum / 100:F3}"));
            sum = 0;
        }
    }
}
