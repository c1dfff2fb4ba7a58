using Nibble.Artifacts;
using Nibble.Formats.CompressedTensors;
using Nibble.Formats.HuggingFace;
using Nibble.Models;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;
using Nibble.Torch.Qat;
using Nibble.Torch.Tasks;

namespace Nibble.Benchmarks.EncoderTable;

/// <summary>What a table is made of.</summary>
/// <param name="Model">A pretrained encoder's folder.</param>
/// <param name="Train">What is trained and calibrated on.</param>
/// <param name="Dev">What recipes are chosen by.</param>
/// <param name="Test">What is reported.</param>
/// <param name="Work">Where fine-tuned models and outcomes are kept.</param>
internal sealed record TableOptions(string Model, string Train, string Dev, string Test, string Work);

/// <summary>One seed's float model and the runs from it: after training, in training, and the control.</summary>
internal sealed class SeedRuns
{
    private const int ControlEpochs = 2;

    private readonly TableOptions options;
    private readonly bool isEmbedding;
    private readonly int seed;
    private readonly Outcomes outcomes;
    private readonly TaskConfig task;
    private readonly string folder;

    public SeedRuns(TableOptions options, bool isEmbedding, int seed)
    {
        (this.options, this.isEmbedding, this.seed) = (options, isEmbedding, seed);
        outcomes = new Outcomes(Path.Combine(options.Work, $"outcomes-{seed}.json"));
        task = isEmbedding ? SentenceTransformers.Read(options.Model) ?? new TaskConfig(ModelTask.Embedding)
            : new TaskConfig(ModelTask.Classification);
        folder = isEmbedding ? options.Model : Path.Combine(options.Work, $"float-{seed}");
    }

    /// <summary>How the float model is fine-tuned.</summary>
    private static QatSettings Finetuning => new() { LearningRate = 1e-4, WeightDecay = 0.01, WarmUp = 0.1, BatchSize = 32 };

    /// <summary>The float model: fine-tuned where it is a classifier.</summary>
    public Outcome Float() => outcomes.Of("float", () =>
    {
        if (isEmbedding)
        {
            using var pretrained = Open();
            return Score(pretrained, (0, 0), 0, "as it is");
        }

        var labels = ClassLabels.OfData(TextData.ReadLabels([options.Train]));
        var (loaded, _) = LoadedModel.OpenWithHead(options.Model, json => task.AddTo(labels.AddTo(json)), seed);
        using (loaded)
        {
            var data = Read(loaded, options.Train);
            var steps = Steps(data, 3);
            var cost = Outcomes.Measure(() =>
            {
                new QuantizationAwareTrainer(loaded, recipe: null, Finetuning with { Steps = steps }, data, CalibrationOptions.For(loaded.Definition), seed)
                    .Train();
            });
            Replace(folder, loaded.Save);
            return Score(loaded, cost, 3 * data.Count, "fine-tuned");
        }
    });

    /// <summary>The float model, trained two epochs more from the labels: what more training does by itself.</summary>
    public Outcome Control() => outcomes.Of("control", () =>
    {
        using var loaded = Open();
        var data = Read(loaded, options.Train);
        var settings = QatSettings.ForEncoder(8) with { Steps = Steps(data, ControlEpochs), Distillation = null };
        var cost = Outcomes.Measure(() =>
            new QuantizationAwareTrainer(loaded, recipe: null, settings, data, CalibrationOptions.For(loaded.Definition), seed).Train());
        return Score(loaded, cost, ControlEpochs * data.Count, "float control");
    });

    /// <summary>Post-training quantization by a recipe.</summary>
    public Outcome Ptq(Func<ModelDefinition, Recipe> choose)
    {
        var recipe = choose(Definition());
        return outcomes.Of($"ptq {recipe.Name}", () =>
        {
            using var loaded = Open();
            var data = Read(loaded, options.Train);
            QuantizedModel? quantized = null;
            var cost = Outcomes.Measure(() => quantized = PostTrainingQuantizer.Run(loaded, recipe, data, seed));
            var pieces = data.Pieces(recipe.Ptq.Windows, Math.Min(recipe.Ptq.SequenceLength, loaded.Definition.MaxSequence), seed);
            return Score(quantized!, loaded, cost, pieces.Sequences.Count, recipe.Name);
        });
    }

    /// <summary>The recipe that is best on the data that choose.</summary>
    public Outcome BestPtq(Width width) => width.Candidates(Definition()).Select(recipe => Ptq(_ => recipe)).MaxBy(outcome => outcome.Dev)!;

    /// <summary>Quantization-aware training.</summary>
    public Outcome Qat(Width width) => outcomes.Of($"qat {width.Label}, {width.Epochs} epochs", () =>
    {
        using var loaded = Open();
        var data = Read(loaded, options.Train);
        var settings = QatSettings.ForEncoder(width.WeightBits) with { Steps = Steps(data, width.Epochs) };
        var recipe = width.Trained(loaded.Definition, settings);
        QuantizedModel? quantized = null;
        var cost = Outcomes.Measure(() =>
        {
            var trainer = new QuantizationAwareTrainer(loaded, recipe, settings, data, CalibrationOptions.For(loaded.Definition), seed);
            trainer.Train();
            quantized = trainer.Convert();
        });
        using var original = Open();
        return Score(quantized!, original, cost, (long)(width.Epochs * data.Count), recipe.Name);
    });

    private LoadedModel Open() => LoadedModel.Open(folder, isEmbedding ? task : null);

    private ModelDefinition Definition()
    {
        var path = Path.Combine(folder, Checkpoint.ConfigName);
        var json = File.ReadAllText(path);
        return ModelFamilies.Parse(isEmbedding ? task.AddTo(json) : json, path);
    }

    private static int Steps(ITaskData data, double epochs) => (int)Math.Ceiling(epochs * data.Batches(Finetuning.BatchSize, 128, 1).StepsPerEpoch);

    private static ITaskData Read(LoadedModel model, string path) => ModelTasks.Of(model.Definition).Read(path, model, new ReadOptions());

    /// <summary>Scores what an artifact computes: written, and read back.</summary>
    private Outcome Score(QuantizedModel quantized, LoadedModel original, (double CpuSeconds, long PeakBytes) cost, long samples, string recipe)
    {
        var artifact = Path.Combine(options.Work, $"artifact-{seed}");
        Replace(artifact, path => QuantizedModelFile.Save(quantized, path));
        using var loaded = LoadedModel.Open(artifact);
        return Score(loaded, cost, samples, recipe, original);
    }

    private Outcome Score(LoadedModel model, (double CpuSeconds, long PeakBytes) cost, long samples, string recipe, LoadedModel? reference = null)
    {
        var scoring = ModelTasks.Of(model.Definition);
        var dev = scoring.Evaluate(model.Model, Read(model, options.Dev), new ScoreOptions());
        var test = scoring.Evaluate(model.Model, Read(model, options.Test), new ScoreOptions { Reference = isEmbedding ? reference?.Model : null });
        return new Outcome(100 * dev.Main.Value, 100 * test.Main.Value, test.Agreement, cost.CpuSeconds, cost.PeakBytes, samples, recipe);
    }

    private static void Replace(string path, Action<string> write)
    {
        if (Directory.Exists(path))
        {
            Directory.Delete(path, recursive: true);
        }

        write(path);
    }
}
