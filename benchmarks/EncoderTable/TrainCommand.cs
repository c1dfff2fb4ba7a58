using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Nibble.Torch;
using Nibble.Torch.Data;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models.Bert;
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
        var output = new Option<DirectoryInfo?>("-o", "--output") { Description = "a folder for the trained checkpoint" };
        var command = new Command("train", "Train the float model from scratch and score it") { data, seed, threads, least, hidden, intermediate, layers, dropout, masked, epochs, rate, output };
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
            Train(shape, parsed.GetRequiredValue(data).FullName, parsed.GetValue(seed), parsed.GetValue(output)?.FullName, cancellation);
            return Task.CompletedTask;
        });
        return command;
    }

    private static void Train(SmallBert shape, string folder, int seed, string? output, CancellationToken cancellation)
    {
        var work = Directory.CreateTempSubdirectory("nibble-encoder-").FullName;
        try
        {
            using var loaded = shape.Create(folder, work, seed);
            var train = ClassificationData.Read(Path.Combine(folder, "sst2", "train.tsv"), loaded);
            var dev = ClassificationData.Read(Path.Combine(folder, "sst2", "dev.tsv"), loaded);
            var test = ClassificationData.Read(Path.Combine(folder, "sst2", "test.tsv"), loaded);
            var trainer = new ClassifierTrainer(loaded.Model, train, shape.Training, seed);
            Console.Error.WriteLine($"{loaded.Model.ParameterCount:N0} parameters, {train.Count:N0} texts, {trainer.Steps:N0} steps");
            var start = Stopwatch.GetTimestamp();
            trainer.Train(new StepLines(), cancellation);
            var seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            var (onDev, onTest) = (ClassificationEvaluator.Evaluate(loaded.Model, dev), ClassificationEvaluator.Evaluate(loaded.Model, test));
            Console.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"seed {seed}: dev {100 * onDev.Accuracy:F2} % ({onDev.Loss:F3}), test {100 * onTest.Accuracy:F2} % ({onTest.Loss:F3}), {seconds:F0} s, {seconds / trainer.Steps * 1000:F0} ms a step"));
            if (output is not null)
            {
                loaded.Save(output);
            }
        }
        finally
        {
            Directory.Delete(work, recursive: true);
        }
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
