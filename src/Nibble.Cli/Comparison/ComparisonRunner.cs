using System.Diagnostics;
using Nibble.Artifacts;
using Nibble.Cli.Rendering;
using Nibble.Cli.Report;
using Nibble.Formats;
using Nibble.Recipes;
using Nibble.Torch;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;
using Nibble.Torch.Qat;

namespace Nibble.Cli.Comparison;

/// <summary>What is compared.</summary>
/// <param name="Model">The float checkpoint's folder.</param>
/// <param name="TrainingText">Calibrates PTQ, trains QAT and the control.</param>
/// <param name="EvaluationText">Scores every variant.</param>
/// <param name="Recipes">One a width.</param>
/// <param name="PtqRecipes">The same with what PTQ does to the weights, in the same order.</param>
/// <param name="Hybrids">Recipes that name both methods, each trained as it says itself.</param>
/// <param name="Qat">How the control trains, and how long QAT does, whose rates are those of each recipe.</param>
/// <param name="Context">Tokens in an evaluation window; null for 512 or what the model takes.</param>
/// <param name="Windows">Evaluation windows at most.</param>
/// <param name="Prompt">What every variant is asked to continue.</param>
/// <param name="Seed">Drives everything random.</param>
/// <param name="ArtifactFolder">Where each variant's artifact is written.</param>
/// <param name="CommandLine">What repeats the comparison.</param>
internal sealed record ComparisonOptions(
    string Model,
    string TrainingText,
    string EvaluationText,
    IReadOnlyList<Recipe> Recipes,
    IReadOnlyList<Recipe> PtqRecipes,
    IReadOnlyList<Recipe> Hybrids,
    QatSettings Qat,
    int? Context,
    int Windows,
    string Prompt,
    long Seed,
    string ArtifactFolder,
    string CommandLine);

/// <summary>The main job: takes one model down both roads at every width and measures what comes out.</summary>
/// <remarks>Every variant is written as an artifact, read back and measured from there: what is measured is what ships.</remarks>
internal sealed class ComparisonRunner : IDisposable
{
    private readonly ComparisonOptions options;
    private readonly IProgressLine progress;
    private readonly CancellationToken cancellation;
    private readonly LoadedModel original;
    private readonly TokenizedText training;
    private readonly TokenizedText evaluation;
    private readonly CalibrationOptions calibration;
    private readonly QatSettings settings;
    private readonly int context;
    private double floatLoss;

    public ComparisonRunner(ComparisonOptions options, IProgressLine progress, CancellationToken cancellation)
    {
        this.options = options;
        this.progress = progress;
        this.cancellation = cancellation;
        original = LoadedModel.Open(options.Model);
        original.RequireFloat();
        var config = original.Definition;
        training = TokenizedText.Read(options.TrainingText, original.Tokenizer, cancellation);
        evaluation = TokenizedText.Read(options.EvaluationText, original.Tokenizer, cancellation);
        context = Commands.EvalCommand.WindowLength(options.Context, original);
        calibration = CalibrationOptions.For(config);
        settings = options.Qat with { SequenceLength = Math.Min(options.Qat.SequenceLength, config.MaxSequence) };
        evaluation.RequireWindow(context);
        training.RequireWindow(Math.Max(settings.SequenceLength, calibration.Length));
        var variants = options.PtqRecipes.Concat(options.Recipes).Concat(options.Hybrids);
        DiskSpace.Require(options.ArtifactFolder, variants.Sum(original.CountArtifactBytes), "the artifacts of all variants");
    }

    public ComparisonResult Run()
    {
        var (baseline, scored) = MeasureFloat();
        var runs = new List<ComparisonRun>();
        runs.AddRange(options.Recipes.Zip(options.PtqRecipes, (width, recipe) => Named($"ptq {recipe.Name}", name => PostTraining(name, width, recipe))));
        runs.Add(Named("float control", Control));
        runs.AddRange(options.Recipes.Select(recipe => Named($"qat {recipe.Name}", name => Training(
            name, RunMethod.Qat, recipe,
            recipe.Qat with { Steps = settings.Steps, BatchSize = settings.BatchSize, SequenceLength = settings.SequenceLength }))));
        runs.AddRange(options.Hybrids.Select(recipe => Named(HybridName(recipe), name => Training(
            name, RunMethod.Hybrid, recipe, recipe.Qat with { SequenceLength = Math.Min(recipe.Qat.SequenceLength, original.Definition.MaxSequence) }))));
        var model = original.Model;
        var quantized = model.Linears().Where(linear => options.Recipes.Any(recipe => recipe.RuleFor(linear.Key) is not null)).Sum(linear => linear.Value.Weight.numel());
        return new ComparisonResult
        {
            Date = DateTimeOffset.Now,
            CommandLine = options.CommandLine,
            Seed = options.Seed,
            Model = new ComparedModel(original.Name, options.Model, model.Definition.ModelType, model.ParameterCount(), quantized, original.Bytes),
            Training = new TrainingText(training.Name, training.Ids.Length),
            Evaluation = new EvaluationText(evaluation.Name, scored.Windows, scored.Tokens, context),
            Qat = settings,
            Machine = Environs.Machine(),
            Versions = Environs.Versions(),
            Prompt = options.Prompt,
            Baseline = baseline,
            Runs = runs,
        };
    }

    public void Dispose() => original.Dispose();

    private int FloatBits => 8 * original.StoredAs.Values.Max(type => type.ByteSize());

    private (Baseline Baseline, EvaluationResult Scored) MeasureFloat()
    {
        progress.Begin("float");
        var started = Stopwatch.GetTimestamp();
        using var memory = PeakMemory.Watch();
        var scored = Evaluator.Evaluate(original.Decoder, evaluation, context, options.Windows, null, progress, cancellation);
        floatLoss = scored.Loss;
        var baseline = new Baseline(FloatBits, scored.Perplexity, original.Bytes, Seconds(started), memory.Bytes, Sample(original));
        return (baseline, scored);
    }

    private static string HybridName(Recipe recipe) => recipe.Name.StartsWith("hybrid", StringComparison.Ordinal) ? recipe.Name : $"hybrid {recipe.Name}";

    /// <summary>Makes and measures one variant; what goes wrong in it is said with its name.</summary>
    private ComparisonRun Named(string name, Func<string, ComparisonRun> run)
    {
        progress.Begin(name);
        try
        {
            return run(name);
        }
        catch (NibbleException exception)
        {
            throw new NibbleException($"{name}: {exception.Message}", exception);
        }
    }

    private ComparisonRun PostTraining(string name, Recipe width, Recipe recipe)
    {
        var started = Stopwatch.GetTimestamp();
        using var memory = PeakMemory.Watch();
        var quantized = PostTrainingQuantizer.Run(original, recipe, training, options.Seed, progress, cancellation);
        return Measure(name, RunMethod.Ptq, width, quantized, started, memory, []);
    }

    private ComparisonRun Training(string name, RunMethod method, Recipe recipe, QatSettings own)
    {
        var started = Stopwatch.GetTimestamp();
        using var memory = PeakMemory.Watch();
        using var trained = LoadedModel.OpenToTrain(options.Model, recipe);
        var trainer = new QuantizationAwareTrainer(trained, recipe, own, training, calibration, options.Seed);
        trainer.Train(progress, cancellation);
        return Measure(name, method, recipe, trainer.Convert(), started, memory, Losses(trainer));
    }

    private ComparisonRun Control(string name)
    {
        var started = Stopwatch.GetTimestamp();
        using var memory = PeakMemory.Watch();
        using var trained = LoadedModel.Open(options.Model);
        var trainer = new QuantizationAwareTrainer(trained, recipe: null, settings, training, calibration, options.Seed);
        trainer.Train(progress, cancellation);
        var (seconds, peak) = (Seconds(started), memory.Bytes);
        return Score(trained) with { Name = name, Method = RunMethod.Float, WeightBits = FloatBits, ActivationBits = FloatBits, BitsPerWeight = FloatBits, Bytes = original.Bytes, Seconds = seconds, PeakBytes = peak, TrainingLosses = Losses(trainer) };
    }

    private ComparisonRun Measure(string name, RunMethod method, Recipe recipe, QuantizedModel quantized, long started, PeakMemory memory, IReadOnlyList<TrainingLoss> losses)
    {
        var folder = Path.Combine(options.ArtifactFolder, name.Replace(' ', '-'));
        QuantizedModelFile.Save(quantized, folder);
        var (seconds, peak) = (Seconds(started), memory.Bytes);
        using var artifact = LoadedModel.Open(folder);
        var rule = recipe.RuleFor(quantized.Layers[0].Name)!;
        return Score(artifact) with
        {
            Name = name,
            Method = method,
            Recipe = WidthOf(rule) ?? recipe.Name,
            WeightBits = rule.Weights!.Bits,
            ActivationBits = rule.Activations?.Scheme.Bits ?? 16,
            BitsPerWeight = WeightComparison.BitsPerWeight(quantized),
            Bytes = artifact.Bytes,
            Seconds = seconds,
            PeakBytes = peak,
            TrainingLosses = losses,
            Summary = quantized.Summary!.WithSizes(artifact.Bytes, original.Bytes),
            LayerErrors = WeightComparison.Errors(original, quantized),
            WeightHistograms = WeightComparison.Histograms(original, quantized),
        };
    }

    /// <summary>The name of the width that a run belongs to: that of the recipe with as many bits, whatever else its own recipe says.</summary>
    private string? WidthOf(RecipeRule rule) => options.Recipes
        .FirstOrDefault(recipe => recipe.Rules[^1] is var other && other.Weights!.Bits == rule.Weights!.Bits && other.Activations?.Scheme.Bits == rule.Activations?.Scheme.Bits)?.Name;

    /// <summary>The part of a run that its predictions give; the rest is filled in by who made it.</summary>
    private ComparisonRun Score(LoadedModel model)
    {
        var scored = Evaluator.Evaluate(model.Decoder, evaluation, context, options.Windows, original.Decoder, progress, cancellation);
        return new ComparisonRun
        {
            Name = string.Empty,
            Method = RunMethod.Float,
            WeightBits = 0,
            ActivationBits = 0,
            BitsPerWeight = 0,
            Perplexity = scored.Perplexity,
            LossDifference = scored.Loss - floatLoss,
            Kl = scored.Divergence!.Value,
            Agreement = scored.Agreement!.Value,
            Bytes = 0,
            Seconds = 0,
            PeakBytes = 0,
            Sample = Sample(model),
        };
    }

    private string Sample(LoadedModel model) => TextGenerator.Generate(model, options.Prompt, new GenerationOptions(Seed: options.Seed), cancellation);

    private static List<TrainingLoss> Losses(QuantizationAwareTrainer trainer) => [.. trainer.Losses.Select(point => new TrainingLoss(point.Step, point.Loss))];

    private static double Seconds(long started) => Stopwatch.GetElapsedTime(started).TotalSeconds;
}
