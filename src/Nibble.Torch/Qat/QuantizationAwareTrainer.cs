using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Models.Llama;
using Nibble.Torch.Ptq;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Qat;

/// <summary>The second road: trains a model through its fake quantizers, so that it adapts to its grid, then converts it.</summary>
/// <remarks>
/// A trainer works on the model in place: <see cref="Train"/>, then <see cref="Convert"/>. In between, the model holds its fake
/// quantizers and evaluates as it was trained; converting changes nothing that it computes. Without a recipe it trains the float
/// model for the same steps on the same batches: the control that tells better quantization from more training. The control learns from the
/// text alone: it has no better teacher than itself.
/// </remarks>
public sealed class QuantizationAwareTrainer
{
    /// <summary>The metric of an artifact that holds the training loss of the last step.</summary>
    internal const string FinalLossMetric = "finalTrainingLoss";

    /// <summary>Share of the text that is held out of training where the settings ask for looks at it.</summary>
    private const double HeldOutShare = 0.05;

    /// <summary>Sequences held out at most: a look should cost little beside the steps between two.</summary>
    private const int HeldOutWindows = 64;

    private readonly LoadedModel source;
    private readonly QatSettings settings;
    private readonly long seed;
    private readonly Recipe? recipe;
    private readonly CalibrationOptions calibration;
    private readonly TokenizedText? heldOut;
    private readonly RandomWindows windows;
    private readonly List<string> warnings = [];
    private PreparedModel? prepared;

    /// <summary>Null until the model is prepared.</summary>
    private TrainingLoop? loop;

    /// <summary>The float model, while training learns from it.</summary>
    private LlamaModel? teacher;
    private TeacherCache? cache;

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
        if (settings.Precision == TrainingPrecision.BFloat16 && source.Model.Blocks[0].Attention.Key.Weight.device_type == TorchSharp.DeviceType.CPU)
        {
            throw new NibbleException("the precision bfloat16 needs a device with bfloat16 products; a CPU computes them about 100 times slower than float32: use precision: float32, or --device cuda where there is one");
        }

        foreach (var (_, linear) in source.Model.Linears)
        {
            linear.Precision = settings.Precision;
        }

        text.RequireWindow(settings.SequenceLength);
        var training = text;
        if (settings.EvaluateEvery > 0)
        {
            (training, heldOut) = Split(text, settings.SequenceLength);
        }

        windows = new RandomWindows(training, settings.SequenceLength, settings.BatchSize, seed);
        if (recipe is not null)
        {
            Require(recipe);
        }

        if (settings.Mode == TrainingMode.Full && (recipe is null || !StartingPoint.FreezesWeights(recipe)))
        {
            Prepare(progress: null, CancellationToken.None);
        }
    }

    private void Require(Recipe recipe)
    {
        if (recipe.KeyValueCache is { HasStaticKeys: true })
        {
            throw new NibbleException($"the recipe '{recipe.Name}' quantizes keys per channel with ranges from calibration, which training would leave behind; train with keys per token, or use post-training quantization");
        }

        if (recipe.Rotation != Rotation.None)
        {
            throw new NibbleException($"the recipe '{recipe.Name}' rotates the model, which only post-training quantization does; train with a recipe without rotation");
        }

        if (TiedHead.IsNamed(recipe, source.Model.Config))
        {
            throw new NibbleException(
                $"the recipe '{recipe.Name}' quantizes the head of {source.Name}, which is tied to the embedding: open the model with "
                    + $"{nameof(LoadedModel)}.{nameof(LoadedModel.OpenToTrain)}, which gives the head a matrix of its own");
        }

        List<string> names = [.. source.Model.Linears.Select(linear => linear.Key)];
        foreach (var (name, linear) in source.Model.Linears.Where(linear => recipe.RuleFor(linear.Key) is not null))
        {
            QuantizedTensor.RequireSize($"{source.Name}: the weight of {name}", linear.OutFeatures, linear.InFeatures);
        }

        TrainingModes.Require(recipe, settings);
        TrainingModes.RequireMethods(recipe, settings, names);
        if (recipe.KeyValueCache is null)
        {
            PostTrainingQuantizer.RequireLayers(names.Count(name => recipe.RuleFor(name) is not null), names, source.Name, recipe);
        }
    }

    private void Prepare(IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        if (recipe is not null)
        {
            prepared = TrainingModes.Prepare(source, recipe, settings, windows.Text, calibration, seed, Checkpoints is { } own ? own.Path + ".codes" : null,
                warnings.Add, progress, cancellation);
            foreach (var block in source.Model.Blocks)
            {
                KeyValueQuantizers.Set(block, recipe.KeyValueCache, keys: null);
            }
        }

        loop = new TrainingLoop(CreateTask(), settings);
    }

    /// <summary>The text trained on.</summary>
    public TokenizedText Text { get; }

    /// <summary>The format that the recipe was fitted to, of which the summary then speaks; null for none.</summary>
    public RecipeTarget? Target { get; init; }

    /// <summary>What the training does with each layer, and what the user should know; known from the start, but for what a post-training solution to begin
    /// with warns of.</summary>
    public RunSummary Summary
    {
        get
        {
            if (recipe is null)
            {
                return RunSummary.Empty;
            }

            var solves = StartingPoint.FreezesWeights(recipe) || settings.Start != WeightAlgorithms.RoundToNearest;
            var epochs = (double)settings.Steps * settings.BatchSize * settings.SequenceLength / windows.Text.Ids.Length;
            return DecoderLayers.Summarize(source.Model.Config, recipe with { Qat = settings }, Method.Qat, solves ? windows.Text : null, Target, epochs)
                .With(warnings);
        }
    }

    /// <summary>The training loss of every step so far.</summary>
    public IReadOnlyList<TrainingPoint> Losses => loop?.Losses ?? [];

    /// <summary>The losses on held-out text so far: the last part of <see cref="Text"/>, where <see cref="QatSettings.EvaluateEvery"/> asks for it.</summary>
    public IReadOnlyList<TrainingPoint> HeldOutLosses => loop?.HeldOutLosses ?? [];

    /// <summary>Where the training saves itself, and goes on from if a trainer that was created alike was interrupted; null keeps nothing.</summary>
    public CheckpointOptions? Checkpoints { get; init; }

    /// <summary>Where the teacher's predictions are kept for other trainings; null computes them each time.</summary>
    public TeacherCacheOptions? TeacherCache { get; init; }

    /// <summary>Trains; <see cref="TrainingLoop"/> says how.</summary>
    /// <param name="progress">Told after each step.</param>
    /// <param name="cancellation">Stops between steps; a checkpoint is written first, where <see cref="Checkpoints"/> are.</param>
    /// <exception cref="NibbleException">The loss is no longer finite or has exploded, or the checkpoint is of another training.</exception>
    public void Train(IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        if (loop is null)
        {
            Prepare(progress, cancellation);
        }

        using var original = prepared is not null && settings.Distillation is not null ? Teacher(settings.Distillation, progress, cancellation) : null;
        teacher = original?.Model;
        cache = original is not null && TeacherCache is { } options ? new TeacherCache(options, original.Model, windows.Text, settings.SequenceLength, settings.Distillation!.Temperature) : null;
        source.Model.Recompute = settings.Recompute;
        try
        {
            loop!.Run(Checkpoints, progress, cancellation);
        }
        finally
        {
            (teacher, cache) = (null, null);
            source.Model.Recompute = false;
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
            throw new InvalidOperationException(recipe is null ? "The float control has nothing to convert." : "In this mode, or where post-training quantization chooses weights first, the model is quantized when training begins; train it before converting it.");
        }

        var metrics = new Dictionary<string, double>();
        if (Losses.Count > 0)
        {
            metrics[FinalLossMetric] = Losses[^1].Loss;
        }

        if (HeldOutLosses.Count > 0)
        {
            metrics["finalHeldOutLoss"] = HeldOutLosses[^1].Loss;
        }

        return Conversion.Assemble(source, prepared.ConvertLayers(), prepared.Recipe, prepared.MethodName, seed, metrics) with { Summary = Summary };
    }

    /// <summary>The float model, trained on the text if the settings say so.</summary>
    private LoadedModel Teacher(DistillationSettings distillation, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        var model = LoadedModel.Open(source.Folder);
        if (distillation.TeacherSteps == 0)
        {
            return model;
        }

        try
        {
            var steps = settings with { Steps = distillation.TeacherSteps, LearningRate = settings.FloatLearningRate ?? settings.LearningRate, Distillation = null, EvaluateEvery = 0, Patience = 0, Dampening = 0 };
            new QuantizationAwareTrainer(model, recipe: null, steps, windows.Text, new CalibrationOptions(), seed)
            {
                Checkpoints = Checkpoints is { } own ? own with { Path = own.Path + ".teacher" } : null,
            }.Train(progress, cancellation);
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    private IEnumerable<Parameter> ScaleParameters => prepared?.ScaleParameters ?? [];

    private TrainingTask CreateTask()
    {
        var quantized = (prepared?.Prepared ?? []).Select(layer => layer.Layer.Weight.Handle).ToHashSet();
        var trained = prepared?.WeightParameters ?? source.Model.parameters();
        var floatRate = prepared is null ? settings.LearningRate : settings.FloatLearningRate ?? settings.LearningRate;
        ParameterGroup Group(string name, Func<Parameter, bool> belongs, double rate, double decay) => new(name, [.. trained.Where(belongs)], rate, decay);
        ParameterGroup[] weights = prepared is null || settings.Mode == TrainingMode.Full
            ?
            [
                Group("weights", parameter => quantized.Contains(parameter.Handle), settings.LearningRate, settings.WeightDecay),
                Group("matrices", parameter => parameter.dim() > 1 && !quantized.Contains(parameter.Handle), floatRate, settings.WeightDecay),
                Group("vectors", parameter => parameter.dim() <= 1, floatRate, 0),
            ]
            : [new ParameterGroup("adapters", [.. prepared.WeightParameters], settings.LearningRate, settings.WeightDecay)];
        return new TrainingTask(
            [.. weights, new ParameterGroup("scales", [.. ScaleParameters], settings.ScaleLearningRate, 0) { Averaged = false }],
            Loss)
        {
            States = [.. prepared?.States ?? []],
            BeginStep = step => prepared?.BeginStep(step, settings.Steps),
            HeldOutLoss = heldOut is null ? null : HeldOutLoss,
            SettledStep = prepared is null ? 1 : SettledStep(settings),
            IsLogLikelihood = prepared is null || settings.Distillation is null,
            TokensPerStep = settings.BatchSize * settings.SequenceLength,
        };
    }

    /// <summary>The first step at which everything is quantized as it will be in the end.</summary>
    private static int SettledStep(QatSettings settings)
    {
        var schedule = settings.Schedule;
        var share = Math.Max(schedule.FloatShare + schedule.Gradual + (schedule.AnnealFrom > 0 ? schedule.AnnealingShare : 0), schedule.ActivationDelay);
        return 1 + (int)Math.Ceiling(settings.Steps * share);
    }

    private Tensor Loss(int step, int part)
    {
        var rows = settings.BatchSize / settings.Accumulation;
        var starts = windows.Starts(step).AsSpan(part * rows, rows);
        var loss = teacher is null ? CrossEntropy(windows.Text.Batch(starts, settings.SequenceLength)) : Distilled(starts, teacher, settings.Distillation!);
        return prepared is null || settings.Dampening == 0 ? loss : loss + (DampeningWeight(step) * prepared.Dampening());
    }

    private Tensor Distilled(ReadOnlySpan<int> starts, LlamaModel teacher, DistillationSettings distillation)
    {
        var batch = windows.Text.Batch(starts, settings.SequenceLength);
        var tokens = TokensOf(batch);
        var student = Prediction.Of(source.Model, tokens, blocks: distillation.Hidden > 0);
        Prediction? expected = null;
        TeacherPrediction? known = null;
        using (no_grad())
        {
            // The blocks' outputs are too many to be kept.
            expected = cache is null || distillation.Hidden > 0 ? Prediction.Of(teacher, tokens, blocks: distillation.Hidden > 0) : null;
            known = cache?.Get(starts, missing => teacher.forward(TokensOf(windows.Text.Batch(missing, settings.SequenceLength))));
        }

        var divergence = known is null
            ? DistillationLoss.Divergence(student.Logits, expected!.Logits, distillation.Temperature)
            : DistillationLoss.Divergence(student.Logits, known, distillation.Temperature);
        return DistillationLoss.Of(divergence, () => CrossEntropy(student.Logits, batch), () => DistillationLoss.BlockError(student.Blocks, expected!.Blocks), distillation);
    }

    private static Tensor TokensOf(Tensor batch) => batch.narrow(1, 0, batch.shape[1] - 1);

    /// <summary>The weight of the dampening penalty, which grows along a cosine: early on, weights should find their place freely.</summary>
    private double DampeningWeight(int step) => settings.Dampening * (1 - Math.Cos(Math.PI * step / settings.Steps)) / 2;

    private Tensor CrossEntropy(Tensor batch) => CrossEntropy(source.Model.forward(TokensOf(batch)), batch);

    private static Tensor CrossEntropy(Tensor logits, Tensor batch) =>
        nn.functional.cross_entropy(logits.reshape(-1, logits.shape[2]), batch.narrow(1, 1, logits.shape[1]).reshape(-1));

    private double HeldOutLoss()
    {
        var rows = settings.BatchSize / settings.Accumulation;
        var starts = Enumerable.Range(0, heldOut!.WindowCount(settings.SequenceLength)).Select(window => window * settings.SequenceLength).ToArray();
        var sum = 0d;
        foreach (var chunk in starts.Chunk(rows))
        {
            using var scope = NewDisposeScope();
            sum += chunk.Length * CrossEntropy(heldOut.Batch(chunk, settings.SequenceLength)).item<float>();
        }

        return sum / starts.Length;
    }

    /// <summary>Cuts the end of a text off, in whole sequences.</summary>
    private static (TokenizedText Training, TokenizedText HeldOut) Split(TokenizedText text, int length)
    {
        var count = Math.Clamp((int)(text.WindowCount(length) * HeldOutShare), 1, HeldOutWindows) * length;
        if (text.Ids.Length - count < length)
        {
            throw new NibbleException($"{text.Name}: the text has {text.Ids.Length} tokens, expected at least two windows of {length}, one of them to hold out; give a longer text, or set evaluateEvery to 0");
        }

        return (text with { Ids = text.Ids[..^count] }, text with { Ids = text.Ids[^count..] });
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
