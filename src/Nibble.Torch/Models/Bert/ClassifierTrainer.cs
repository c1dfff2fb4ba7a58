using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Qat;
using static TorchSharp.torch;

namespace Nibble.Torch.Models.Bert;

/// <summary>Trains a classifier, in float or through its fake quantizers.</summary>
/// <remarks>
/// The seed drives the order of the texts, the hidden words and dropout: the same seed and number of threads give the same weights. A float
/// model that is trained with the same settings on the same batches is the control that tells better quantization from more training.
/// </remarks>
public sealed class ClassifierTrainer
{
    private readonly BertClassifier model;
    private readonly QatSettings settings;
    private readonly long seed;
    private readonly ShuffledBatches batches;

    /// <summary>Prepares to train a classifier in place.</summary>
    /// <param name="model">The classifier.</param>
    /// <param name="data">What to train on.</param>
    /// <param name="settings">How to train; the sequence length is that of the data.</param>
    /// <param name="seed">Drives the run.</param>
    /// <param name="maskedShare">Share of the words hidden in training, 0 to less than 1.</param>
    /// <exception cref="ArgumentOutOfRangeException">A setting is out of range.</exception>
    /// <exception cref="NibbleException">Words are to be hidden, but the tokenizer has no token for that.</exception>
    public ClassifierTrainer(BertClassifier model, ClassificationData data, QatSettings settings, long seed, double maskedShare = 0)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(settings);
        settings.Validate();
        this.model = model;
        this.settings = settings;
        this.seed = seed;
        batches = new ShuffledBatches(data, settings.BatchSize, seed, maskedShare);
    }

    /// <summary>The classifier with its fake quantizers; null trains it in float.</summary>
    public PreparedModel? Prepared { get; init; }

    /// <summary>The float classifier whose logits <see cref="QatSettings.Distillation"/> compares with; null learns from the classes alone.</summary>
    public BertClassifier? Teacher { get; init; }

    /// <summary>The mean loss of a step's batch: cross-entropy with the classes and, where there is a teacher, divergence from its predictions (Hinton et al. 2015, section 2).</summary>
    /// <param name="step">The step, from 1.</param>
    /// <returns>A scalar that gradients flow from. It depends on the step, the seed and the parameters alone.</returns>
    public Tensor Loss(int step)
    {
        using var scope = NewDisposeScope();

        // Dropout draws from libtorch's own generator.
        random.manual_seed(SeededRandom.Create(seed, step).NextInt64());
        var batch = batches.At(step - 1);
        var logits = model.call(batch.Ids, batch.Mask);
        var loss = nn.functional.cross_entropy(logits, batch.Labels);
        if (Teacher is not null && settings.Distillation is { Weight: > 0 } distillation)
        {
            var divergence = Divergence(logits / distillation.Temperature, TeacherLogits(batch) / distillation.Temperature);
            loss = ((1 - distillation.Weight) * loss) + (distillation.Weight * distillation.Temperature * distillation.Temperature * divergence);
        }

        return loss.MoveToOuterDisposeScope();
    }

    /// <summary>Trains the classifier, and leaves it in evaluation mode.</summary>
    /// <param name="checkpoints">Where the training saves itself, and goes on from what it has saved; null keeps nothing.</param>
    /// <param name="progress">Told after each step.</param>
    /// <param name="cancellation">Stops between steps.</param>
    /// <exception cref="NibbleException">The loss is no longer finite or has exploded, or the checkpoint is of another training.</exception>
    public void Train(CheckpointOptions? checkpoints = null, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        var trained = Prepared?.WeightParameters ?? model.parameters();
        var quantized = (Prepared?.Prepared ?? []).Select(layer => layer.Layer.Weight.Handle).ToHashSet();
        var floatRate = Prepared is null ? settings.LearningRate : settings.FloatLearningRate ?? settings.LearningRate;
        var task = new TrainingTask(
            [
                new ParameterGroup("weights", [.. trained.Where(parameter => quantized.Contains(parameter.Handle))], settings.LearningRate, settings.WeightDecay),
                new ParameterGroup("matrices", [.. trained.Where(parameter => parameter.dim() > 1 && !quantized.Contains(parameter.Handle))], floatRate, settings.WeightDecay),
                new ParameterGroup("vectors", [.. trained.Where(parameter => parameter.dim() <= 1)], floatRate, 0),
                new ParameterGroup("scales", [.. Prepared?.ScaleParameters ?? []], settings.ScaleLearningRate, 0) { Averaged = false },
            ],
            (step, _) => Loss(step))
        {
            States = [.. Prepared?.States ?? []],
            BeginStep = step => Prepared?.BeginStep(step, settings.Steps),
        };
        model.train();
        new TrainingLoop(task, settings).Run(checkpoints, progress, cancellation);
        Prepared?.Complete();
        model.eval();
    }

    private Tensor TeacherLogits(ClassificationBatch batch)
    {
        using var guard = no_grad();
        return Teacher!.call(batch.Ids, batch.Mask);
    }

    private static Tensor Divergence(Tensor logits, Tensor expected)
    {
        var logProbabilities = expected.log_softmax(1);
        return (logProbabilities.exp() * (logProbabilities - logits.log_softmax(1))).sum(1).mean();
    }
}
