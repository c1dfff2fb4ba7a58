using System.CommandLine;
using System.Globalization;
using Nibble.Recipes;
using Nibble.Torch.Native;
using TorchSharp;

namespace Nibble.Benchmarks.EncoderTable;

/// <summary><c>table</c>: the table of this field, as Markdown.</summary>
internal static class TableCommand
{
    /// <summary>How QAT and its control train: half the float model's epochs, at a fifth of its rate.</summary>
    private static readonly QatSettings Training = new()
    {
        BatchSize = 32,
        LearningRate = 2e-4,
        ScaleLearningRate = 1e-3,
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
        var steps = new Option<int>("--steps") { Description = "steps of QAT and of its control", DefaultValueFactory = _ => 434 };
        var rate = new Option<double>("--rate") { Description = "learning rate of QAT and of its control", DefaultValueFactory = _ => Training.LearningRate };
        var scales = new Option<double>("--scale-rate") { Description = "learning rate of scales", DefaultValueFactory = _ => Training.ScaleLearningRate };
        var only = new Option<string?>("--only") { Description = "one row alone, such as w4a4" };
        var command = new Command("table", "Accuracy lost by PTQ and by QAT, over seeds") { data, seeds, threads, steps, rate, scales, only };
        command.SetAction((parsed, cancellation) =>
        {
            TorchRuntime.EnsureLoaded();
            torch.set_num_threads(parsed.GetValue(threads));
            var settings = Training with { Steps = parsed.GetValue(steps), LearningRate = parsed.GetValue(rate), ScaleLearningRate = parsed.GetValue(scales) };
            var widths = Width.All.Where(width => parsed.GetValue(only) is not { } label || width.Label == label).ToList();
            var table = new Table(settings, parsed.GetValue(threads));
            for (var seed = 1; seed <= parsed.GetValue(seeds); seed++)
            {
                using var roads = new Roads(parsed.GetRequiredValue(data).FullName, new SmallBert(), settings, seed, new StepLines(), cancellation);
                Run(table, roads, widths, seed);
            }

            Console.WriteLine(table.ToMarkdown(widths));
            return Task.CompletedTask;
        });
        return command;
    }

    private static void Run(Table table, Roads roads, IReadOnlyList<Width> widths, int seed)
    {
        void Say(string what, Score score) => Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"seed {seed}: {what}: dev {score.Dev:F2} %, test {score.Test:F2} %"));
        var (score, cost) = Cost.Of(roads.TrainFloat);
        Say("float", score);
        table.Float.Add(score, cost);
        (score, cost) = Cost.Of(roads.TrainControl);
        Say("control", score);
        table.Control.Add(score, cost);
        foreach (var width in widths)
        {
            var (best, recipe) = (new Score(-1, -1), string.Empty);
            var seconds = new List<double>();
            var peak = 0L;
            foreach (var candidate in width.Candidates())
            {
                (score, cost) = Cost.Of(() => roads.Quantize(candidate));
                seconds.Add(cost.Seconds);
                peak = Math.Max(peak, cost.PeakBytes);
                if (score.Dev > best.Dev)
                {
                    (best, recipe) = (score, candidate.Name);
                }
            }

            Say($"PTQ {recipe}", best);
            table.Of(width).Ptq.Add(best, new Cost(seconds.Average(), peak));
            table.Of(width).PtqRecipes.Add(recipe);
            (score, cost) = Cost.Of(() => roads.TrainQuantized(width.Trained(table.Settings)));
            Say($"QAT {width.Label}", score);
            table.Of(width).Qat.Add(score, cost);
        }
    }
}
