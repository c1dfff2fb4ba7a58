using System.CommandLine;
using System.Globalization;
using Nibble.Recipes;
using Nibble.Torch.Native;
using TorchSharp;

namespace Nibble.Benchmarks.EncoderTable;

/// <summary><c>table</c>: the table of this field, as Markdown.</summary>
internal static class TableCommand
{
    /// <summary>How QAT and its control train: as long as the float model, at its rate.</summary>
    private static readonly QatSettings Training = new()
    {
        BatchSize = 32,
        LearningRate = 1e-3,
        ScaleLearningRate = 5e-3,
        WeightDecay = 0.01,
        WarmUp = 0.1,
        Activations = ActivationEstimator.LearnedScaleAndOffset,
        Distillation = new DistillationSettings { Weight = 0.5, Temperature = 2 },
    };

    public static Command Create()
    {
        var data = new Argument<DirectoryInfo>("data") { Description = "a folder with sst2/ and bert-vocab/" };
        var seeds = new Option<int>("--seeds") { Description = "how many seeds, from 1", DefaultValueFactory = _ => 3 };
        var threads = new Option<int>("--threads") { DefaultValueFactory = _ => 1 };
        var epochs = new Option<int>("--epochs") { Description = "epochs of the float model", DefaultValueFactory = _ => new SmallBert().Epochs };
        var steps = new Option<int>("--steps") { Description = "steps of QAT and of its control", DefaultValueFactory = _ => 868 };
        var rate = new Option<double>("--rate") { Description = "learning rate of QAT and of its control", DefaultValueFactory = _ => Training.LearningRate };
        var scales = new Option<double>("--scale-rate") { Description = "learning rate of scales", DefaultValueFactory = _ => Training.ScaleLearningRate };
        var words = new Option<bool>("--words8") { Description = "the table of words with 8 bits in every row" };
        var only = new Option<string?>("--only") { Description = "one row alone, such as w4a4" };
        var command = new Command("table", "Accuracy lost by PTQ and by QAT, over seeds") { data, seeds, threads, epochs, steps, rate, scales, words, only };
        command.SetAction((parsed, cancellation) =>
        {
            TorchRuntime.EnsureLoaded();
            torch.set_num_threads(parsed.GetValue(threads));
            var settings = Training with { Steps = parsed.GetValue(steps), LearningRate = parsed.GetValue(rate), ScaleLearningRate = parsed.GetValue(scales) };
            var widths = Width.All.Where(width => parsed.GetValue(only) is not { } label || width.Label == label).Select(width => parsed.GetValue(words) ? width with { WordBits = 8 } : width).ToList();
            var table = new Table(settings, parsed.GetValue(threads));
            for (var seed = 1; seed <= parsed.GetValue(seeds); seed++)
            {
                using var roads = new Roads(parsed.GetRequiredValue(data).FullName, new SmallBert { Epochs = parsed.GetValue(epochs) }, settings, seed, new StepLines(), cancellation);
                Run(table, roads, widths, seed);
            }

            Console.WriteLine(table.ToMarkdown(widths));
            return Task.CompletedTask;
        });
        return command;
    }

    private static void Run(Table table, Roads roads, IReadOnlyList<Width> widths, int seed)
    {
        table.Float.Add(Say("float", roads.TrainFloat()));
        table.Control.Add(Say("control", roads.TrainControl()));
        foreach (var width in widths)
        {
            var row = table.Of(width);
            var (outcome, recipe) = roads.Quantize(width.Candidates());
            row.Ptq.Add(Say($"PTQ {recipe.Name}", outcome));
            row.PtqRecipes.Add(recipe.Name);
            row.Hybrid.Add(Say($"hybrid {width.Label}", roads.TrainQuantized(Width.Hybrid(recipe, table.Settings))));
            row.Qat.Add(Say($"QAT {width.Label}", roads.TrainQuantized(width.Trained(table.Settings))));
        }

        Outcome Say(string what, Outcome outcome)
        {
            Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"seed {seed}: {what}: dev {outcome.Dev:F2} %, test {outcome.Test:F2} %, {outcome.Cost.Seconds:F0} s"));
            return outcome;
        }
    }
}
