using Nibble.Torch.Training;
using Nibble.Artifacts;
using Nibble.Models;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;
using Nibble.Torch.Tasks;
using static TorchSharp.torch;

namespace Nibble.Torch.Qat;

/// <summary>Quantization-aware training: trains a model through its fake quantizers so that it adapts to its grid, then converts it.</summary>
/// <remarks>
/// A trainer works on the model in place: first <see cref="Train"/>, then <see cref="Convert"/>. In between, the model holds its fake quantizers and evaluates
/// as it was trained. Conversion does not change its output. Without a recipe, it trains the float model for the same steps on the same batches. This control
/// run separates the effect of better quantization from that of more training. The control learns only from the data, because it has no better teacher than
/// itself.
/// </remarks>
public sealed class QuantizationAwareTrainer
{
    /// <summary>The name of the artifact metric for the training loss of the last step.</summary>
    internal const string FinalLossMetric = "finalTrainingLoss";

    private readonly LoadedModel source;
    private readonly QatSettings settings;
    private readonly long seed;
    private readonly Recipe? recipe;
    private readonly CalibrationOptions calibration;
    private readonly ITask task;
    private readonly ITaskData training;
    private readonly ITrainingBatches batches;
    private readonly ITrainingBatches? heldOut;
    private readonly Dictionary<int, float[]> predictions = [];
    private readonly List<string> warnings = [];
    private PreparedModel? prepared;

    /// <summary>Null until the model is prepared.</summary>
    private TrainingLoop? loop;

    /// <summary>The float model, while training distils from it.</summary>
    private IQuantizableModel? teacher;
    private TeacherCache? cache;

    /// <summary>Creates a trainer and inserts fake quantizers into a model.</summary>
    /// <param name="source">The float model, which is trained in place.</param>
    /// <param name="recipe">What to do with each layer. Null trains the float model, with the same <paramref name="settings"/>.</param>
    /// <param name="settings">The training settings.</param>
    /// <param name="data">Data to train on and to calibrate static activations with.</param>
    /// <param name="calibration">The amount of data for calibrating static activations.</param>
    /// <param name="seed">The seed of the order of batches.</param>
    /// <exception cref="NibbleException">
    /// The recipe matches no layer and leaves the key-value cache float, or quantizes keys per channel, or the text is shorter than a sequence.
    /// </exception>
    /// <exception cref="ArgumentOutOfRangeException">A setting is out of range.</exception>
    public QuantizationAwareTrainer(LoadedModel source, Recipe? recipe, QatSettings settings, ITaskData data, CalibrationOptions calibration, long seed)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(settings);
        ArgumentNullException.ThrowIfNull(data);
        settings.Validate();
        this.source = source;
        this.settings = settings;
        this.seed = seed;
        this.recipe = recipe is null ? null : source.Definition.Complete(recipe);
        this.calibration = calibration;
        Data = data;
        task = ModelTasks.Of(source.Definition);
        if (settings.Precision == TrainingPrecision.BFloat16 && source.Model.IsOnCpu())
        {
            throw new NibbleException(
                "the precision bfloat16 needs a device with bfloat16 products. A CPU computes them about 100 times slower than float32. Use precision: "
                + "float32, or another device");
        }

        foreach (var (_, linear) in source.Model.Linears())
        {
            linear.Precision = settings.Precision;
        }

        training = data;
        if (settings.EvaluateEvery > 0)
        {
            (training, var held) = data.Split(settings.SequenceLength, seed);
            heldOut = held.Batches(settings.BatchSize, settings.SequenceLength, seed);
        }

        batches = training.Batches(settings.BatchSize, settings.SequenceLength, seed);
        if (this.recipe is not null)
        {
            Require(this.recipe);
        }

        if (settings.Mode == TrainingMode.Full && (this.recipe is null || !StartingPoint.FreezesWeights(this.recipe)))
        {
            Prepare(progress: null, CancellationToken.None);
        }
    }

    private void Require(Recipe recipe)
    {
        if (recipe.KeyValueCache is { HasStaticKeys: true })
        {
            throw new NibbleException(
                $"the recipe '{recipe.Name}' quantizes keys per channel with ranges from calibration, which training would make invalid. Use keys per "
                + $"token, or post-training quantization");
        }

        if (recipe.Rotation != Rotation.None)
        {
            throw new NibbleException(
                $"the recipe '{recipe.Name}' rotates the model, which only post-training quantization supports. Use a recipe without rotation");
        }

        if (TiedHead.IsNamed(recipe, source.Definition))
        {
            throw new NibbleException(
                $"the recipe '{recipe.Name}' quantizes the head of {source.Name}, which is tied to the embedding. Open the model with "
                    + $"{nameof(LoadedModel)}.{nameof(LoadedModel.OpenToTrain)}, which gives the head its own matrix");
        }

        KeyValueQuantizers.Require(recipe, source.Model.Blocks[0], source.Name);
        if (task.Kind == ModelTask.Embedding && settings.Distillation is not { Weight: 1 })
        {
            throw new NibbleException($"the recipe '{recipe.Name}' trains an embedding model without a teacher, and texts alone do not define their vectors. "
                + "Use distillation with a weight of 1");
        }

        List<string> names = [.. source.Model.Layers.Select(layer => layer.Key)];
        foreach (var layer in source.Definition.QuantizableLayers.Where(layer => recipe.RuleFor(layer.Name) is not null))
        {
            QuantizedTensor.RequireSize($"{source.Name}: the weight of {layer.Name}", layer.Rows, layer.Columns);
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
            prepared = TrainingModes.Prepare(source, recipe, settings, training, calibration, seed, Checkpoints is { } own ? own.Path + ".codes" : null,
                warnings.Add, progress, cancellation);
            foreach (var block in source.Model.Blocks)
            {
                KeyValueQuantizers.Set(block, recipe.KeyValueCache, keys: null);
            }
        }

        loop = new TrainingLoop(CreateTask(), settings);
    }

    /// <summary>The training data, including the held-out part.</summary>
    public ITaskData Data { get; }

    /// <summary>The export format that the recipe was fitted to. The summary mentions it. Default: null, none.</summary>
    public RecipeTarget? Target { get; init; }

    /// <summary>
    /// What training does with each layer, with warnings for the user. It is complete from the start, except for warnings about an initial PTQ solution.
    /// </summary>
    public RunSummary Summary => SummaryOf(settings.Steps);

    /// <summary>The summary of a training with another number of steps.</summary>
    internal RunSummary SummaryOf(int steps)
    {
        if (recipe is null)
        {
            return RunSummary.Empty;
        }

        var solves = StartingPoint.FreezesWeights(recipe) || settings.Start != WeightAlgorithms.RoundToNearest;
        var pieces = solves ? training.Pieces(recipe.Ptq.Windows, Math.Min(recipe.Ptq.SequenceLength, source.Definition.MaxSequence), seed) : null;
        return ModelSummary.Of(
            source.Definition, recipe with { Qat = settings with { Steps = steps } }, Method.Qat, pieces, Target, steps / batches.StepsPerEpoch).With(warnings);
    }

    /// <summary>The training loss of every step so far.</summary>
    public IReadOnlyList<TrainingPoint> Losses => loop?.Losses ?? [];

    /// <summary>
    /// The losses on held-out data so far. The held-out data are part of <see cref="Data"/> if <see cref="QatSettings.EvaluateEvery"/> is above 0.
    /// </summary>
    public IReadOnlyList<TrainingPoint> HeldOutLosses => loop?.HeldOutLosses ?? [];

    /// <summary>
    /// Where to save training checkpoints. Training resumes from a checkpoint of an identical trainer that was interrupted. Default: null, no checkpoints.
    /// </summary>
    public CheckpointOptions? Checkpoints { get; init; }

    /// <summary>Where to keep the teacher's predictions so that other runs can reuse them. Default: null, which computes them each time.</summary>
    public TeacherCacheOptions? TeacherCache { get; init; }

    /// <summary>Trains the model with a <see cref="TrainingLoop"/>.</summary>
    /// <param name="progress">Receives progress after each step.</param>
    /// <param name="cancellation">Cancels between steps. If <see cref="Checkpoints"/> are set, a checkpoint is written first.</param>
    /// <exception cref="NibbleException">The loss is no longer finite or has exploded, or the checkpoint belongs to another training run.</exception>
    public void Train(IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        if (loop is null)
        {
            Prepare(progress, cancellation);
        }

        using var original = prepared is not null && settings.Distillation is not null ? Teacher(settings.Distillation, progress, cancellation) : null;
        teacher = original?.Model;
        cache = original is not null && TeacherCache is { } options && task.Kind == ModelTask.LanguageModelling
            ? new TeacherCache(options, original.Model, training, settings.SequenceLength, settings.Distillation!.Temperature)
            : null;
        source.Model.Recompute = settings.Recompute;
        source.Model.Module.train();
        try
        {
            loop!.Run(Checkpoints, progress, cancellation);
        }
        finally
        {
            (teacher, cache) = (null, null);
            source.Model.Recompute = false;
            source.Model.Module.eval();
            predictions.Clear();
        }

        prepared?.Complete();
        RoundFloatParameters();
    }

    /// <summary>Converts the model. The quantized model computes the same as the trained model.</summary>
    /// <exception cref="InvalidOperationException">The trainer has no recipe.</exception>
    public QuantizedModel Convert()
    {
        if (prepared is null)
        {
            throw new InvalidOperationException(
                recipe is null ? "The float control has nothing to convert."
                : "In this mode, or if post-training quantization chooses weights first, the model is quantized when training starts. Train it before "
                + "converting it.");
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

    /// <summary>Loads the float model, and trains it on the data if the settings require that.</summary>
    private LoadedModel Teacher(DistillationSettings distillation, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        var model = LoadedModel.Open(source.Folder, source.Task);
        if (distillation.TeacherSteps == 0)
        {
            return model;
        }

        try
        {
            var steps = settings with
            {
                Steps = distillation.TeacherSteps,
                LearningRate = settings.FloatLearningRate ?? settings.LearningRate,
                Distillation = null,
                EvaluateEvery = 0,
                Patience = 0,
                Dampening = 0
            };
            new QuantizationAwareTrainer(model, recipe: null, steps, training, new CalibrationOptions(), seed)
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

    private TrainingTask CreateTask()
    {
        return new TrainingTask(
            TrainingPlan.Groups(source.Model.Module, prepared, settings),
            Loss)
        {
            States = [.. prepared?.States ?? []],
            BeginStep = step => prepared?.BeginStep(step, settings.Steps),
            HeldOutLoss = heldOut is null ? null : HeldOutLoss,
            SettledStep = prepared is null ? 1 : TrainingPlan.SettledStep(settings),
            IsLogLikelihood = task.Kind == ModelTask.LanguageModelling && (prepared is null || settings.Distillation is null),
            TokensPerStep = task.Kind == ModelTask.LanguageModelling ? settings.BatchSize * settings.SequenceLength : 0,
        };
    }

    private Tensor Loss(int step, int part)
    {
        if (task.Kind != ModelTask.LanguageModelling)
        {
            // Dropout draws from libtorch's global generator.
            random.manual_seed(SeededRandom.Create(seed, ((long)step * settings.Accumulation) + part).NextInt64());
        }

        var batch = batches.At(step, part, settings.Accumulation);
        var loss = teacher is null ? OwnLoss(source.Model.Compute(batch.Input), batch) : Distilled(batch, teacher, settings.Distillation!);
        return TrainingPlan.Dampened(loss, prepared, settings, step);
    }

    private Tensor OwnLoss(Tensor output, TrainingBatch batch) => task.Loss(
        output, batch.Targets ?? throw new NibbleException($"{Data.Name}: the lines have no label after their texts, but training needs labels"));

    private Tensor Distilled(TrainingBatch batch, IQuantizableModel teacher, DistillationSettings distillation)
    {
        var student = Prediction.Of(source.Model, batch.Input, blocks: distillation.Hidden > 0);
        Prediction? expected = null;
        TeacherPrediction? known = null;
        using (no_grad())
        {
            // The blocks' outputs are too large to keep.
            expected = cache is null || distillation.Hidden > 0 ? Predicted(teacher, batch, blocks: distillation.Hidden > 0) : null;
            known = cache?.Get(batch.Keys, missing => teacher.Compute(new ModelBatch(Windows(missing))));
        }

        var divergence = known is null
            ? task.Divergence(student.Output, expected!.Output, distillation.Temperature)
            : DistillationLoss.Divergence(student.Output, known, distillation.Temperature);
        return DistillationLoss.Of(
            divergence, () => OwnLoss(student.Output, batch), () => DistillationLoss.BlockError(student.Blocks, expected!.Blocks, batch.Input.Mask),
            distillation);
    }

    /// <summary>The teacher's output. If it is small for each text, it is computed once and kept.</summary>
    private Prediction Predicted(IQuantizableModel teacher, TrainingBatch batch, bool blocks)
    {
        if (blocks || task.Kind == ModelTask.LanguageModelling)
        {
            return Prediction.Of(teacher, batch.Input, blocks);
        }

        if (!Array.TrueForAll(batch.Keys, predictions.ContainsKey))
        {
            using var scope = NewDisposeScope();
            var output = teacher.Compute(batch.Input);
            var values = Conversion.ValuesOf(output);
            var width = (int)output.shape[1];
            for (var i = 0; i < batch.Keys.Length; i++)
            {
                predictions[batch.Keys[i]] = values[(i * width)..((i + 1) * width)];
            }
        }

        var kept = Array.ConvertAll(batch.Keys, key => predictions[key]);
        return new Prediction(tensor(kept.SelectMany(row => row).ToArray(), kept.Length, kept[0].Length), []);
    }

    /// <summary>The windows of the text that start at the given positions, without the last token of each, which has no next token.</summary>
    private Tensor Windows(int[] starts) =>
        ((TokenizedText)training).Batch(starts, settings.SequenceLength).narrow(1, 0, settings.SequenceLength - 1);

    private double HeldOutLoss()
    {
        source.Model.Module.eval();
        var (sum, count) = (0d, 0L);
        foreach (var batch in heldOut!.InOrder(settings.BatchSize / settings.Accumulation))
        {
            using var scope = NewDisposeScope();
            var output = source.Model.Compute(batch.Input);

            // Data without targets are compared with the teacher.
            var loss = batch.Targets is null ? task.Divergence(output, teacher!.Compute(batch.Input), 1) : task.Loss(output, batch.Targets);
            sum += batch.Keys.Length * loss.item<float>();
            count += batch.Keys.Length;
            batch.Input.Dispose();
        }

        source.Model.Module.train();
        return sum / count;
    }

    /// <summary>Parameters that stay float are stored in the checkpoint's type, so the trained model must already compute with rounded values.</summary>
    private void RoundFloatParameters()
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        var quantized = (prepared?.Layers ?? []).Select(name => name + ".weight").ToHashSet();
        foreach (var (name, parameter) in source.Model.Parameters())
        {
            if (!quantized.Contains(name))
            {
                parameter.copy_(Conversion.RoundTo(parameter, source.StoredAs[name]));
            }
        }
    }
}
