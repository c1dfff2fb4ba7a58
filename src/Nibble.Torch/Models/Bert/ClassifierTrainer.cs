using Nibble.Torch.Data;
using Nibble.Torch.Native;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Models.Bert;

/// <summary>How a classifier is trained in float.</summary>
public sealed record ClassifierTrainingSettings
{
    /// <summary>How often each text is seen, at least 1.</summary>
    public int Epochs { get; init; } = 5;

    /// <summary>Texts in a batch, at least 1.</summary>
    public int BatchSize { get; init; } = 32;

    /// <summary>The highest learning rate, above 0.</summary>
    public double LearningRate { get; init; } = 5e-4;

    /// <summary>Share of the steps in which the learning rate rises to its highest, 0 to 1; it falls to 0 in the others.</summary>
    public double WarmUp { get; init; } = 0.1;

    /// <summary>AdamW's decay of matrices; biases and norms have none.</summary>
    public double WeightDecay { get; init; } = 0.01;

    /// <summary>Share of the words hidden in training, 0 to less than 1.</summary>
    public double MaskedShare { get; init; }

    /// <summary>How much of the target is spread over all classes, 0 to less than 1.</summary>
    public double LabelSmoothing { get; init; }

    /// <summary>Gradients are scaled down to this norm, above 0.</summary>
    public double GradientClip { get; init; } = 1;

    /// <summary>Refuses settings that are out of range.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A setting is out of range.</exception>
    public void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(Epochs, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(BatchSize, 1);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(LearningRate);
        ArgumentOutOfRangeException.ThrowIfNegative(WarmUp);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(WarmUp, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(WeightDecay);
        ArgumentOutOfRangeException.ThrowIfNegative(LabelSmoothing);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(LabelSmoothing, 1);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(GradientClip);
    }
}

/// <summary>Trains a classifier in float: AdamW (Loshchilov and Hutter 2019), linear warm-up, linear decay, gradients clipped by norm.</summary>
/// <remarks>The seed drives the order of the texts, the hidden words and dropout: the same seed and number of threads give the same weights.</remarks>
public sealed class ClassifierTrainer
{
    private readonly BertClassifier model;
    private readonly ClassifierTrainingSettings settings;
    private readonly ShuffledBatches batches;
    private readonly long seed;

    /// <summary>Prepares to train a classifier in place.</summary>
    /// <param name="model">The classifier.</param>
    /// <param name="data">What to train on.</param>
    /// <param name="settings">How to train.</param>
    /// <param name="seed">Drives the run.</param>
    /// <exception cref="ArgumentOutOfRangeException">A setting is out of range.</exception>
    /// <exception cref="NibbleException">Words are to be hidden, but the tokenizer has no token for that.</exception>
    public ClassifierTrainer(BertClassifier model, ClassificationData data, ClassifierTrainingSettings settings, long seed)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(settings);
        settings.Validate();
        this.model = model;
        this.settings = settings;
        this.seed = seed;
        batches = new ShuffledBatches(data, settings.BatchSize, seed, settings.MaskedShare);
    }

    /// <summary>Steps of the run.</summary>
    public int Steps => settings.Epochs * batches.PerEpoch;

    /// <summary>The loss of a step's batch: cross-entropy, mean over its texts.</summary>
    /// <param name="step">The step, from 1.</param>
    /// <returns>A scalar that gradients flow from.</returns>
    public Tensor Loss(int step)
    {
        using var scope = NewDisposeScope();
        var batch = batches.At(step - 1);
        var logits = model.call(batch.Ids, batch.Mask);
        return nn.functional.cross_entropy(logits, batch.Labels, label_smoothing: settings.LabelSmoothing).MoveToOuterDisposeScope();
    }

    /// <summary>Trains the classifier, and leaves it in evaluation mode.</summary>
    /// <param name="progress">Told after each step.</param>
    /// <param name="cancellation">Stops between steps.</param>
    /// <exception cref="NibbleException">The loss is no longer finite.</exception>
    public void Train(IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        // Dropout draws from libtorch's own generator.
        random.manual_seed(seed);
        using var optimizer = CreateOptimizer();
        var trained = model.parameters().ToArray();
        model.train();
        for (var step = 1; step <= Steps; step++)
        {
            cancellation.ThrowIfCancellationRequested();
            using var pause = CollectorPause.Begin();
            using var scope = NewDisposeScope();
            foreach (var group in optimizer.ParamGroups)
            {
                group.LearningRate = settings.LearningRate * Schedule(step);
            }

            var loss = Loss(step);
            var value = loss.item<float>();
            if (!float.IsFinite(value))
            {
                throw new NibbleException($"the training loss became {value} at step {step}; lower the learning rate (it is {settings.LearningRate}) or lengthen the warm-up");
            }

            optimizer.zero_grad();
            loss.backward();
            nn.utils.clip_grad_norm_(trained, settings.GradientClip);
            optimizer.step();
            progress?.Report(new RunProgress("train", step, Steps, value));
        }

        model.eval();
    }

    private double Schedule(int step)
    {
        var warm = settings.WarmUp * Steps;
        return step < warm ? step / warm : (Steps + 1 - step) / (Steps + 1 - warm);
    }

    private AdamW CreateOptimizer()
    {
        AdamW.ParamGroup Group(IEnumerable<Parameter> parameters, double decay) =>
            new(parameters, new AdamW.Options { LearningRate = settings.LearningRate, InitialLearningRate = settings.LearningRate, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = decay });
        return optim.AdamW(
            [Group(model.parameters().Where(parameter => parameter.dim() > 1), settings.WeightDecay), Group(model.parameters().Where(parameter => parameter.dim() <= 1), 0)],
            settings.LearningRate);
    }
}
