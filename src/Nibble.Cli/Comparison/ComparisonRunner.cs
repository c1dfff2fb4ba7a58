using Nibble.Torch.Training;
using Nibble.Formats.CompressedTensors;
using Nibble.Files;
using System.Diagnostics;
using Nibble.Cli.Rendering;
using Nibble.Cli.Report;
using Nibble.Models;
using Nibble.Recipes;
using Nibble.Torch;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;
using Nibble.Torch.Qat;
using Nibble.Torch.Tasks;

namespace Nibble.Cli.Comparison;

/// <summary>Runs a comparison: quantizes one model with both methods at every width and measures the results.</summary>
/// <remarks>Every variant is written as an artifact, read back and then measured, so the measurements are those of the shipped files.</remarks>
internal sealed class ComparisonRunner : IDisposable
{
    public const string FloatName = "float";
    public const string FineTuningName = "fine-tuning";
    public const string ControlName = "float control";

    private readonly ComparisonOptions options;
    private readonly ComparisonJob job;
    private readonly IProgressLine progress;
    private readonly CancellationToken cancellation;
    private readonly ITask task;
    private readonly QualityScale scale;
    private readonly FineTuning? fineTuning;
    private readonly LoadedModel original;
    private readonly TaskConfig? asked;
    private readonly RemainingTime? remaining;
    private TaskScore floatScore = new([], Loss: null, Count: 0);

    /// <summary>Begins a comparison. Fine-tunes the float model for its task if it has no head.</summary>
    /// <param name="options">What to compare.</param>
    /// <param name="job">Keeps finished work.</param>
    /// <param name="open">Opens the checkpoint, with the head of the task.</param>
    /// <param name="estimate">How long each run will take; null if that is unknown.</param>
    /// <param name="progress">Takes progress reports.</param>
    /// <param name="cancellation">Stops the work. Finished work is kept.</param>
    public ComparisonRunner(
        ComparisonOptions options, ComparisonJob job, Func<LoadedModel> open, ComparisonEstimate? estimate, IProgressLine progress,
        CancellationToken cancellation)
    {
        this.options = options;
        this.job = job;
        this.progress = progress;
        this.cancellation = cancellation;
        if (estimate is not null)
        {
            remaining = new RemainingTime(estimate.Runs);
            progress.Expect(() => remaining.Seconds);
        }

        (original, fineTuning) = options.FineTuning is { } settings ? FineTune(settings, open) : (LoadedModel.Open(options.Model, options.Task), null);
        asked = options.FineTuning is null ? options.Task : null;
        task = ModelTasks.Of(original.Definition);
        scale = options.Measure.Scale;
        var variants = options.PtqRecipes.Concat(options.Recipes).Concat(options.Hybrids);
        DiskSpace.Require(job.Variants, variants.Sum(original.CountArtifactBytes), "the artifacts of all variants");
    }

    public ComparisonResult Run()
    {
        var scored = MeasureFloat();
        var runs = new List<ComparisonRun>();
        runs.AddRange(options.PtqRecipes.Select((recipe, i) => Named(
            PtqName(recipe.Name), name => PostTraining(name, options.Recipes[i % options.Recipes.Count], recipe))));
        if (options.HasControl(task.Kind))
        {
            runs.Add(Named(ControlName, Control));
        }

        runs.AddRange(options.Recipes.Select(recipe => Named(QatName(recipe.Name), name => Training(
            name, Method.Qat, recipe,
            recipe.Qat with { Steps = options.Qat.Steps, BatchSize = options.Qat.BatchSize, SequenceLength = options.Qat.SequenceLength }))));
        runs.AddRange(options.Hybrids.Select(recipe => Named(HybridName(recipe), name => Training(
            name, Method.Hybrid, recipe, recipe.Qat with { SequenceLength = Math.Min(recipe.Qat.SequenceLength, original.Definition.MaxSequence) }))));
        var model = original.Model;
        var quantized = model.Linears().Where(linear => options.Recipes.Any(recipe => recipe.RuleFor(linear.Key) is not null))
            .Sum(linear => linear.Value.Weight.numel());
        return new ComparisonResult
        {
            Date = DateTimeOffset.Now,
            CommandLine = options.CommandLine,
            Seed = options.Seed,
            Task = task.Kind,
            FineTuning = fineTuning,
            Model = new ComparedModel(original.Name, options.Model, model.Definition.ModelType, model.ParameterCount(), quantized, original.Bytes),
            Training = new TrainingData(options.Training.Name, options.Training.Count, task.Kind == ModelTask.LanguageModelling ? "tokens" : "texts"),
            Evaluation = new EvaluationData(options.Measure.Name, scored.Count, scale.Pieces, scored.Predictions, options.Measure.Context),
            Qat = options.Qat,
            Machine = Environs.Machine(),
            Versions = Environs.Versions(),
            Prompt = options.Prompt,
            Baseline = scored.Baseline,
            Runs = runs,
        };
    }

    /// <summary>Deletes the control, which is only needed for the comparison.</summary>
    public void DropControl()
    {
        if (Directory.Exists(FolderOf(ControlName)))
        {
            Directory.Delete(FolderOf(ControlName), recursive: true);
        }
    }

    public void Dispose() => original.Dispose();

    private int FloatBits => 8 * original.StoredAs.Values.Max(type => type.ByteSize());

    private (LoadedModel Model, FineTuning Facts) FineTune(QatSettings settings, Func<LoadedModel> open)
    {
        var kind = TaskConfig.NameOf(options.Task!.Task);
        var folder = Path.Combine(job.Variants, $"{Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(options.Model)))}-{kind}");
        var made = Make(FineTuningName, folder, () =>
        {
            Begin(FineTuningName);
            using var source = open();
            var result = FinetuneRun.Run(new FinetuneOptions(source, settings, options.Training, folder) { Seed = options.Seed }, progress, cancellation);
            return (RunSummary.Empty, result.Losses);
        });
        remaining?.End(FineTuningName);
        return (LoadedModel.Open(folder), new FineTuning(settings.Steps, settings.BatchSize, settings.LearningRate, made.Seconds));
    }

    private void Begin(string name)
    {
        progress.Begin(name == FineTuningName ? FloatName : name);
        remaining?.Begin(name);
    }

    private MeasuredFloat MeasureFloat()
    {
        if (job.Find(FloatName, RecordJson.Default.MeasuredFloat) is not { } measured)
        {
            Begin(FloatName);
            var started = Stopwatch.GetTimestamp();
            using var memory = PeakMemory.Watch();
            var scored = Evaluate(original, reference: null);
            measured = new MeasuredFloat(
                new Baseline(FloatBits, scored.Main.Value, ScoreText.Document(scored), original.Bytes, Seconds(started), memory.Bytes, Sample(original)),
                scored.Count, scored.Predictions, scored.Loss);
            job.Keep(FloatName, measured, RecordJson.Default.MeasuredFloat);
        }

        remaining?.End(FloatName);
        progress.Say($"{FloatName}: {scale.Name} {scale.Value(measured.Baseline.Quality)}, {Numbers.Bytes(measured.Baseline.Bytes)}");
        floatScore = new TaskScore([new TaskMetric(scale.Name, measured.Baseline.Quality, !scale.IsText)], measured.Loss, measured.Count);
        return measured;
    }

    /// <summary>The name of a PTQ run.</summary>
    public static string PtqName(string recipe) => $"ptq {recipe}";

    /// <summary>The name of a QAT run.</summary>
    public static string QatName(string recipe) => $"qat {recipe}";

    /// <summary>The name of a hybrid's run.</summary>
    public static string HybridName(Recipe recipe) => recipe.Name.StartsWith("hybrid", StringComparison.Ordinal) ? recipe.Name : $"hybrid {recipe.Name}";

    /// <summary>Makes and measures one variant, unless that was done before. Errors name the variant.</summary>
    private ComparisonRun Named(string name, Func<string, ComparisonRun> run)
    {
        if (job.Find(name, RecordJson.Default.ComparisonRun) is { } known)
        {
            remaining?.End(name);
            return known;
        }

        Begin(name);
        try
        {
            var measured = run(name);
            job.Keep(name, measured, RecordJson.Default.ComparisonRun);
            remaining?.End(name);
            progress.Say(
                $"{name}: {scale.Name} {scale.Value(measured.Quality)} ({scale.Change(measured.LossDifference)}), {Numbers.Bytes(measured.Bytes)}, "
                    + $"{Numbers.Duration(measured.Seconds)}");
            return measured;
        }
        catch (NibbleException exception)
        {
            throw new NibbleException($"{name}: {exception.Message}", exception);
        }
    }

    /// <summary>Makes a folder and measures the time, including interrupted attempts, and the memory. A folder that was made before is not made
    /// again.</summary>
    private MadeRun Make(string name, string folder, Func<(RunSummary Summary, IReadOnlyList<TrainingPoint> Losses)> make)
    {
        var (record, spent) = ($"{name} made", $"{name} spent");
        if (job.Find(record, RecordJson.Default.MadeRun) is { } known)
        {
            return known;
        }

        if (Directory.Exists(folder))
        {
            // Killed before its cost was recorded.
            Directory.Delete(folder, recursive: true);
        }

        var before = job.Find(spent, RecordJson.Default.SpentTime)?.Seconds ?? 0;
        var started = Stopwatch.GetTimestamp();
        using var memory = PeakMemory.Watch();
        try
        {
            var (summary, losses) = make();
            var made = new MadeRun(before + Seconds(started), memory.Bytes, summary, [.. losses.Select(point => new TrainingLoss(point.Step, point.Loss))]);
            job.Keep(record, made, RecordJson.Default.MadeRun);
            return made;
        }
        catch (OperationCanceledException)
        {
            job.Keep(spent, new SpentTime(before + Seconds(started)), RecordJson.Default.SpentTime);
            throw;
        }
    }

    private ComparisonRun PostTraining(string name, Recipe width, Recipe recipe)
    {
        var folder = FolderOf(name);
        var made = Make(name, folder, () =>
        {
            var ptq = new PtqRequest(original.Folder, recipe, folder) { Data = options.Training, Task = asked, Seed = options.Seed, IsPart = true };
            return (PostTrainingQuantizer.Run(ptq, progress, cancellation).Summary, []);
        });
        return Measure(name, Method.Ptq, width, folder, made);
    }

    private ComparisonRun Training(string name, Method method, Recipe recipe, QatSettings settings)
    {
        var folder = FolderOf(name);
        var made = Make(name, folder, () =>
        {
            using var trained = LoadedModel.OpenToTrain(original.Folder, recipe, asked);
            var result = QatRun.Run(new QatRequest(trained, recipe, settings, options.Training, folder) { Seed = options.Seed }, progress, cancellation);
            return (result.Artifact.Summary, result.Losses);
        });
        return Measure(name, method, recipe, folder, made);
    }

    private ComparisonRun Control(string name)
    {
        var folder = FolderOf(name);
        var made = Make(name, folder, () =>
        {
            using var source = LoadedModel.Open(original.Folder, asked);
            var settings = options.Qat with { Distillation = null };
            return (RunSummary.Empty,
                FinetuneRun.Run(new FinetuneOptions(source, settings, options.Training, folder) { Seed = options.Seed }, progress, cancellation).Losses);
        });
        ComparisonRun run;
        using (var trained = LoadedModel.Open(folder, asked))
        {
            run = Score(trained) with
            {
                Name = name,
                Method = null,
                WeightBits = FloatBits,
                ActivationBits = FloatBits,
                BitsPerWeight = FloatBits,
                Bytes = original.Bytes,
                Seconds = made.Seconds,
                PeakBytes = made.PeakBytes,
                TrainingLosses = made.TrainingLosses,
            };
        }

        return run;
    }

    private ComparisonRun Measure(string name, Method method, Recipe recipe, string folder, MadeRun made)
    {
        var quantized = QuantizedModelFile.Load(folder);
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
            Seconds = made.Seconds,
            PeakBytes = made.PeakBytes,
            TrainingLosses = made.TrainingLosses,
            Summary = made.Summary,
            LayerErrors = WeightComparison.Errors(original, quantized),
            WeightHistograms = WeightComparison.Histograms(original, quantized),
        };
    }

    private string FolderOf(string name) => Path.Combine(job.Variants, name.Replace(' ', '-'));

    /// <summary>The name of the width that a run belongs to: that of the recipe with the same bit widths.</summary>
    private string? WidthOf(RecipeRule rule) => options.Recipes
        .FirstOrDefault(recipe => recipe.Rules[^1] is var other && other.Weights!.Bits == rule.Weights!.Bits
            && other.Activations?.Scheme.Bits == rule.Activations?.Scheme.Bits)?.Name;

    private TaskScore Evaluate(LoadedModel model, LoadedModel? reference) => options.Measure.Score(model, reference, most: null, progress, cancellation);

    /// <summary>The part of a run that comes from its predictions. The caller fills in the rest.</summary>
    private ComparisonRun Score(LoadedModel model)
    {
        var scored = Evaluate(model, original);
        return new ComparisonRun
        {
            Name = string.Empty,
            Method = null,
            WeightBits = 0,
            ActivationBits = 0,
            BitsPerWeight = 0,
            Quality = scored.Main.Value,
            Metrics = ScoreText.Document(scored),
            LossDifference = scale.LossOf(scored, floatScore),
            Divergence = scored.Divergence!.Value,
            Agreement = scored.Agreement,
            Bytes = 0,
            Seconds = 0,
            PeakBytes = 0,
            Sample = Sample(model),
        };
    }

    private string? Sample(LoadedModel model) =>
        options.Prompt is { } prompt ? TextGenerator.Generate(model, prompt, new GenerationOptions(Seed: options.Seed), cancellation) : null;

    private static double Seconds(long started) => Stopwatch.GetElapsedTime(started).TotalSeconds;
}
