using Nibble.Artifacts;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using Nibble.Torch.Ptq;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Qat;

/// <summary>The training loss of a step.</summary>
/// <param name="Step">The step, from 1.</param>
/// <param name="Loss">Nats per token on the step's batch.</param>
public readonly record struct TrainingPoint(int Step, double Loss);

/// <summary>The second road: trains a model through its fake quantizers, so that it adapts to its grid, then converts it.</summary>
/// <remarks>
/// A trainer works on the model in place: <see cref="Train"/>, then <see cref="Convert"/>. In between, the model holds its fake
/// quantizers and evaluates as it was trained; converting changes nothing that it computes. Without a recipe it trains the float
/// model for the same steps on the same batches: the control that tells better quantization from more training.
/// </remarks>
public sealed class QuantizationAwareTrainer
{
    private readonly LoadedModel source;
    private readonly QatSettings settings;
    private readonly long seed;
    private readonly Recipe? recipe;
    private readonly CalibrationOptions calibration;
    private readonly List<TrainingPoint> losses = [];
    private PreparedModel? prepared;

    /// <summary>Puts fake quantizers into a model.</summary>
    /// <param name="source">The float model, which will be trained in place.</param>
    /// <param name="recipe">What to do with each layer; null trains the float model (<paramref name="settings"/> still apply).</param>
    /// <param name="settings">How to train.</param>
    /// <param name="text">Text to train on, and to calibrate static activations with.</param>
    /// <param name="calibration">How much text calibrates static activations.</param>
    /// <param name="seed">Drives the order of the batches.</param>
    /// <exception cref="NibbleException">The recipe matches no layer and leaves the key-value cache float, or has keys per channel, or the text is shorter than a sequence.</exception>
    /// <exception cref="ArgumentOutOfRangeException">A setting is out of range.</exception>
    public QuantizationAwareTrainer(LoadedModel source, Recipe? recipe, QatSettings settings, TokenizedText text, CalibrationOptions calibration, long seed)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(settings);
        ArgumentNullException.ThrowIfNull(text);
        settings.Validate();
        this.source = source;
        this.settings = settings;
        this.seed = seed;
        this.recipe = recipe;
        this.calibration = calibration;
        Text = text;
        text.RequireWindow(settings.SequenceLength);
        if (recipe is null)
        {
            return;
        }

        if (recipe.KeyValueCache is { HasStaticKeys: true })
        {
            throw new NibbleException($"the recipe '{recipe.Name}' quantizes keys per channel with ranges from calibration, which training would leave behind; train with keys per token, or use post-training quantization");
        }

        if (recipe.Rotation != Rotation.None)
        {
            throw new NibbleException($"the recipe '{recipe.Name}' rotates the model, which only post-training quantization does; train with a recipe without rotation");
        }

        TrainingModes.Require(recipe, settings);
        List<string> names = [.. source.Model.Linears.Select(linear => linear.Key)];
        if (recipe.KeyValueCache is null)
        {
            PostTrainingQuantizer.RequireLayers(names.Count(name => recipe.RuleFor(name) is not null), names, source.Name, recipe);
        }

        if (settings.Mode == TrainingMode.Full)
        {
            prepared = TrainingModes.Prepare(source, recipe, settings, text, calibration, seed, progress: null, CancellationToken.None);
        }

        foreach (var block in source.Model.Blocks)
        {
            KeyValueQuantizers.Set(block, recipe.KeyValueCache, keys: null);
        }
    }

    /// <summary>The text trained on.</summary>
    public TokenizedText Text { get; }

    /// <summary>The training loss of every step so far.</summary>
    public IReadOnlyList<TrainingPoint> Losses => losses;

    /// <summary>Trains: AdamW (Loshchilov and Hutter 2019), linear warm-up, cosine decay, gradients clipped by norm.</summary>
    /// <param name="progress">Told after each step.</param>
    /// <param name="cancellation">Stops between steps.</param>
    /// <exception cref="NibbleException">The loss is no longer finite.</exception>
    public void Train(IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        if (recipe is not null)
        {
            prepared ??= TrainingModes.Prepare(source, recipe, settings, Text, calibration, seed, progress, cancellation);
        }

        var random = SeededRandom.Create(seed);
        using var optimizer = CreateOptimizer();
        Parameter[] trained = [.. WeightParameters, .. ScaleParameters];
        for (var step = 1; step <= settings.Steps; step++)
        {
            cancellation.ThrowIfCancellationRequested();
            using var pause = CollectorPause.Begin();
            using var scope = NewDisposeScope();
            foreach (var group in optimizer.ParamGroups)
            {
                group.LearningRate = group.InitialLearningRate * Schedule(settings, step);
            }

            prepared?.BeginStep(step, settings.Steps);
            var batch = Text.RandomBatch(random, settings.BatchSize, settings.SequenceLength);
            var length = settings.SequenceLength - 1;
            var logits = source.Model.forward(batch.narrow(1, 0, length));
            var loss = nn.functional.cross_entropy(logits.reshape(-1, logits.shape[2]), batch.narrow(1, 1, length).reshape(-1));
            var value = loss.item<float>();
            if (!float.IsFinite(value))
            {
                throw new NibbleException($"the training loss became {value} at step {step}; lower the learning rate (it is {settings.LearningRate}) or lengthen the warm-up");
            }

            optimizer.zero_grad();
            loss.backward();
            nn.utils.clip_grad_norm_(trained, settings.GradientClip);
            optimizer.step();
            losses.Add(new TrainingPoint(step, value));
            progress?.Report(new RunProgress("train", step, settings.Steps, value));
        }

        prepared?.Complete();
        RoundFloatParameters();
    }

    /// <summary>The quantized model, which computes what the trained model computes.</summary>
    /// <exception cref="InvalidOperationException">The trainer has no recipe.</exception>
    public QuantizedModel Convert()
    {
        if (prepared is null)
        {
            throw new InvalidOperationException(recipe is null ? "The float control has nothing to convert." : "In this mode the model is quantized when training begins; train it before converting it.");
        }

        var metrics = losses.Count == 0 ? new Dictionary<string, double>() : new Dictionary<string, double> { ["finalTrainingLoss"] = losses[^1].Loss };
        return Conversion.Assemble(source, prepared.ConvertLayers(), prepared.Recipe, "qat", seed, metrics);
    }

    private IEnumerable<Parameter> WeightParameters => prepared?.WeightParameters ?? source.Model.parameters();

    private IEnumerable<Parameter> ScaleParameters => prepared?.ScaleParameters ?? [];

    private AdamW CreateOptimizer() => Optimizers.AdamW(
        settings,
        [
            ([.. WeightParameters.Where(parameter => parameter.dim() > 1)], settings.LearningRate, settings.WeightDecay),
            ([.. WeightParameters.Where(parameter => parameter.dim() <= 1)], settings.LearningRate, 0),
            ([.. ScaleParameters], settings.ScaleLearningRate, 0),
        ]);

    /// <summary>The learning rate of a step, from 1, as a share of its peak.</summary>
    internal static double Schedule(QatSettings settings, int step)
    {
        var warm = settings.WarmUp * settings.Steps;
        if (step < warm)
        {
            return step / warm;
        }

        var share = settings.Steps > warm ? (step - warm) / (settings.Steps - warm) : 1;
        return settings.FinalLearningRate + ((1 - settings.FinalLearningRate) * (1 + Math.Cos(Math.PI * share)) / 2);
    }

    /// <summary>What stays float is stored in the checkpoint's type, so the trained model must already compute with that.</summary>
    private void RoundFloatParameters()
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        var quantized = (prepared?.Layers ?? []).Select(name => name + ".weight").ToHashSet();
        foreach (var (name, parameter) in source.Model.named_parameters())
        {
            if (!quantized.Contains(name))
            {
                parameter.copy_(Conversion.RoundTo(parameter, source.StoredAs[name]));
            }
        }
    }
}
