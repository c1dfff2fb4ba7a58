using Nibble.Torch.Training;
using System.Diagnostics;
using Nibble.Cli.Report;
using Nibble.Planning;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Models;
using Nibble.Torch.Planning;
using Nibble.Torch.Qat;

namespace Nibble.Cli.Comparison;

/// <summary>Estimates how long a comparison will take, from a few training steps and from scoring a small sample.</summary>
/// <param name="FineTuning">Seconds to fine-tune the float model for its task.</param>
/// <param name="Ptq">Seconds of post-training quantization for all recipes.</param>
/// <param name="Training">Seconds of quantization-aware training for all recipes, and of the control.</param>
/// <param name="Scoring">Seconds to score all variants.</param>
/// <param name="Runs">Seconds of each run with its score, by name.</param>
internal sealed record ComparisonEstimate(
    double FineTuning, double Ptq, double Training, double Scoring, IReadOnlyDictionary<string, double> Runs)
{
    private const int Steps = 3;

    /// <summary>Measures the times.</summary>
    /// <param name="open">Opens the float model, with the head of its task.</param>
    /// <param name="options">The comparison.</param>
    /// <param name="cancellation">Stops between steps.</param>
    public static ComparisonEstimate Measure(Func<LoadedModel> open, ComparisonOptions options, CancellationToken cancellation)
    {
        using var model = open();
        var recipe = options.Recipes[0];
        var machine = MachineSpeed.Measure();
        var costs = options.PtqRecipes.Select(item => (item.Name, Seconds: PtqCost(model, item, options).Seconds(machine))).ToList();
        var (measure, sample) = (options.Measure, options.Measure.SampleCount);
        var started = Stopwatch.GetTimestamp();
        measure.Score(model, reference: null, sample, progress: null, cancellation);
        var score = Stopwatch.GetElapsedTime(started).TotalSeconds / sample * measure.Count;

        // A recipe may give a head that is tied to the embedding its own matrix.
        using var untied = options.FineTuning is null ? LoadedModel.OpenToTrain(options.Model, recipe, options.Task) : null;
        var settings = recipe.Qat with { Steps = Steps, BatchSize = options.Qat.BatchSize, SequenceLength = options.Qat.SequenceLength };
        var step = StepSeconds(untied ?? model, recipe, settings, options, cancellation);
        // A score may also run the float model. A fine-tuning step has no quantizers and takes at most as long as a QAT step.
        var runs = new Dictionary<string, double> { [ComparisonRunner.FloatName] = score };
        costs.ForEach(cost => runs[ComparisonRunner.PtqName(cost.Name)] = cost.Seconds + (measure.Passes * score));
        List<(string Name, int Steps)> trainings =
        [
            .. options.HasControl(model.Definition.Task!.Value) ? [(ComparisonRunner.ControlName, options.Qat.Steps)] : Array.Empty<(string, int)>(),
            .. options.Recipes.Select(item => (ComparisonRunner.QatName(item.Name), options.Qat.Steps)),
            .. options.Hybrids.Select(item => (ComparisonRunner.HybridName(item), item.Qat.Steps)),
        ];
        trainings.ForEach(training => runs[training.Name] = (training.Steps * step) + (measure.Passes * score));
        var fineTuning = (options.FineTuning?.Steps ?? 0) * step;
        if (fineTuning > 0)
        {
            runs[ComparisonRunner.FineTuningName] = fineTuning;
        }

        return new ComparisonEstimate(
            fineTuning, costs.Sum(cost => cost.Seconds), trainings.Sum(training => training.Steps) * step,
            ((measure.Passes * (costs.Count + trainings.Count)) + 1) * score, runs);
    }

    /// <summary>The estimate as a sentence.</summary>
    public override string ToString()
    {
        List<string> parts = [];
        if (FineTuning > 0)
        {
            parts.Add($"fine-tuning {Numbers.Duration(FineTuning)}");
        }

        parts.Add($"PTQ {Numbers.Duration(Ptq)}");
        parts.Add($"training {Numbers.Duration(Training)}");
        parts.Add($"scoring {Numbers.Duration(Scoring)}");
        return $"about {Numbers.Duration(FineTuning + Ptq + Training + Scoring)} in total: {string.Join(", ", parts)}";
    }

    private static MethodCost PtqCost(LoadedModel model, Recipe recipe, ComparisonOptions options)
    {
        var length = Math.Min(recipe.Ptq.SequenceLength, model.Definition.MaxSequence);
        var tokens = recipe.NeedsCalibration
            ? options.Training.Pieces(recipe.Ptq.Windows, length, options.Seed).Sequences.Sum(sequence => (long)sequence.Ids.Length) : 0;
        var (shape, bits) = (model.Definition.ShapeOf(model.Name), recipe.Rules[^1].Weights!.Bits);
        return tokens == 0
            ? MethodCost.RoundToNearest(shape, bits)
            : MethodCost.Gptq(shape, bits, tokens, length, recipe.Rules.Any(rule => rule.Algorithms.Rounding == WeightRounding.Gptaq));
    }

    private static double StepSeconds(LoadedModel model, Recipe recipe, QatSettings settings, ComparisonOptions options, CancellationToken cancellation)
    {
        // A model with a randomly initialized head has no teacher yet. A teacher's forward pass takes a third of a step.
        var lacksTeacher = options.FineTuning is not null && settings.Distillation is not null;
        var clock = new StepClock(next: null);
        new QuantizationAwareTrainer(
            model, recipe, lacksTeacher ? settings with { Distillation = null } : settings, options.Training, CalibrationOptions.For(model.Definition),
            options.Seed).Train(clock, cancellation);
        return lacksTeacher ? clock.StepSeconds * 4 / 3 : clock.StepSeconds;
    }
}
