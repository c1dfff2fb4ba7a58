using Nibble.Artifacts;
using Nibble.Recipes;
using Nibble.Torch;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models.Bert;
using Nibble.Torch.Native;
using Nibble.Torch.Ptq;
using Nibble.Torch.Qat;
using static TorchSharp.torch;

namespace Nibble.Benchmarks.EncoderTable;

/// <summary>What a road gave and took.</summary>
/// <param name="Dev">Accuracy, in percent, on the sentences that choices are made by.</param>
/// <param name="Test">Accuracy, in percent, on those that are reported.</param>
/// <param name="Cost">What the road took, without the scoring.</param>
internal readonly record struct Outcome(double Dev, double Test, Cost Cost);

/// <summary>One seed's float model and the roads from it: after training, in training, and the control.</summary>
internal sealed class Roads : IDisposable
{
    private const int CalibrationBatches = 8;

    private readonly string work = Directory.CreateTempSubdirectory("nibble-encoder-").FullName;
    private readonly string data;
    private readonly SmallBert shape;
    private readonly QatSettings settings;
    private readonly int seed;
    private readonly IProgress<RunProgress> progress;
    private readonly CancellationToken cancellation;
    private readonly Dictionary<string, ClassificationData> read = [];

    /// <param name="data">A folder with <c>sst2/</c> and <c>bert-vocab/</c>.</param>
    /// <param name="shape">The float model.</param>
    /// <param name="settings">How QAT and its control train.</param>
    /// <param name="seed">Drives everything.</param>
    /// <param name="progress">Told of every step.</param>
    /// <param name="cancellation">Stops between steps.</param>
    public Roads(string data, SmallBert shape, QatSettings settings, int seed, IProgress<RunProgress> progress, CancellationToken cancellation)
    {
        this.data = data;
        this.shape = shape;
        this.settings = settings;
        this.seed = seed;
        this.progress = progress;
        this.cancellation = cancellation;
    }

    private string Folder => Path.Combine(work, "float");

    /// <summary>Trains the float model, from which the other roads start.</summary>
    public Outcome TrainFloat()
    {
        using var loaded = shape.Create(data, work, seed);
        var train = Read(loaded, "train");
        var steps = shape.Epochs * new ShuffledBatches(train, shape.Training.BatchSize, seed).PerEpoch;
        var trainer = new ClassifierTrainer(loaded.Model, train, shape.Training with { Steps = steps }, seed, shape.MaskedShare);
        var cost = Cost.Of(() => trainer.Train(progress: progress, cancellation: cancellation));
        loaded.Save(Folder);
        return Score(loaded, cost);
    }

    /// <summary>Writes the float model.</summary>
    public void SaveFloat(string folder)
    {
        using var loaded = LoadedClassifier.Open(Folder);
        loaded.Save(folder);
    }

    /// <summary>Quantizes the float model after training and writes the artifact.</summary>
    public void Save(Recipe recipe, string folder)
    {
        using var loaded = LoadedClassifier.Open(Folder);
        QuantizedModelFile.Save(loaded.Complete(Prepare(loaded, recipe).Convert(seed)), folder);
    }

    /// <summary>The float model, trained as much as QAT trains.</summary>
    public Outcome TrainControl()
    {
        using var loaded = LoadedClassifier.Open(Folder);
        using var teacher = Teacher();
        return Score(loaded, Cost.Of(() => Trainer(loaded, teacher, settings, null).Train(progress: progress, cancellation: cancellation)));
    }

    /// <summary>Quantizes the float model after training, ranges of weights by themselves and ranges of inputs from calibration, with the recipe that is best on dev.</summary>
    public (Outcome Outcome, Recipe Recipe) Quantize(IEnumerable<Recipe> candidates)
    {
        var best = candidates.Select(recipe => (Recipe: recipe, Dev: Dev(recipe))).MaxBy(item => item.Dev).Recipe;
        using var loaded = LoadedClassifier.Open(Folder);
        return (Score(loaded, Cost.Of(() => Prepare(loaded, best))), best);

        double Dev(Recipe recipe)
        {
            using var loaded = LoadedClassifier.Open(Folder);
            Prepare(loaded, recipe);
            return Accuracy(loaded, "dev");
        }
    }

    /// <summary>Trains the float model through its fake quantizers, converts it and scores what a fresh model computes with the result.</summary>
    public Outcome TrainQuantized(Recipe recipe)
    {
        using var loaded = LoadedClassifier.Open(Folder);
        using var teacher = Teacher();
        using var converted = LoadedClassifier.Open(Folder);
        var cost = Cost.Of(() =>
        {
            var prepared = Prepare(loaded, recipe);
            Trainer(loaded, teacher, recipe.Qat, prepared).Train(progress: progress, cancellation: cancellation);
            QuantizationAware.Load(converted.Model, prepared.Convert(seed));
        });
        var (trained, outcome) = (Score(loaded, cost), Score(converted, cost));
        return outcome == trained
            ? outcome
            : throw new NibbleException($"the trained model scores {trained} and the converted one {outcome}, expected the same");
    }

    /// <inheritdoc/>
    public void Dispose() => Directory.Delete(work, recursive: true);

    private LoadedClassifier? Teacher() => settings.Distillation is null ? null : LoadedClassifier.Open(Folder);

    private ClassifierTrainer Trainer(LoadedClassifier loaded, LoadedClassifier? teacher, QatSettings how, PreparedModel? prepared) =>
        new(loaded.Model, Read(loaded, "train"), how, seed, shape.MaskedShare) { Prepared = prepared, Teacher = teacher?.Model };

    private PreparedModel Prepare(LoadedClassifier loaded, Recipe recipe)
    {
        var train = Read(loaded, "train");
        var calibration = new ShuffledBatches(train, shape.Training.BatchSize, seed);
        var inputs = ActivationCalibration.Run(loaded.Model, recipe, () =>
        {
            using var guard = no_grad();
            for (var i = 0; i < CalibrationBatches; i++)
            {
                using var pause = CollectorPause.Begin();
                using var scope = NewDisposeScope();
                var batch = calibration.At(i);
                loaded.Model.call(batch.Ids, batch.Mask);
            }
        });
        return QuantizationAware.Prepare(loaded.Model, recipe, new PrepareOptions { Weights = ClassifierQuantizer.RoundWeights(loaded.Model, recipe), Inputs = inputs });
    }

    private Outcome Score(LoadedClassifier loaded, Cost cost) => new(Accuracy(loaded, "dev"), Accuracy(loaded, "test"), cost);

    private double Accuracy(LoadedClassifier loaded, string part) => 100 * ClassificationEvaluator.Evaluate(loaded.Model, Read(loaded, part), cancellation: cancellation).Accuracy;

    /// <summary>The sentences of a part, tokenized once: all models of a seed have one tokenizer.</summary>
    private ClassificationData Read(LoadedClassifier loaded, string part)
    {
        if (!read.TryGetValue(part, out var sentences))
        {
            read.Add(part, sentences = ClassificationData.Read(Path.Combine(data, "sst2", $"{part}.tsv"), loaded));
        }

        return sentences;
    }
}
