using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Models;

namespace Nibble.Torch.Qat;

/// <summary>The preparation that each training mode needs before its first step.</summary>
internal static class TrainingModes
{
    /// <summary>The approximate number of times that block-wise training uses each window (EfficientQAT trains two epochs).</summary>
    private const int Epochs = 2;

    /// <summary>Rejects settings that a mode does not support.</summary>
    /// <exception cref="NibbleException">The settings contradict each other.</exception>
    public static void Require(Recipe recipe, QatSettings settings)
    {
        var codes = settings.Mode is TrainingMode.BlockWise or TrainingMode.Scales;
        var schedule = settings.Schedule;
        Refuse(codes && settings.Estimator == GradientEstimator.StraightThrough,
            "learns scales, but the estimator straightThrough learns none; use learnedScale");
        Refuse(settings.Mode != TrainingMode.Full && (schedule.FloatShare > 0 || schedule.Gradual > 0),
            "trains no weights that could be float at first; set floatShare and gradual to 0");
        Refuse(codes && schedule.AnnealFrom > 0, "starts with codes of the scheme's bit width; set annealFrom to 0");
        Refuse(codes && settings.Dampening > 0, "trains no weights end to end that could oscillate between codes; set dampening to 0");
        Refuse(settings.Start.BiasCorrection, "cannot start with debias, which adds biases that the model lacks; remove it from start");
        Refuse(
            settings.Mode == TrainingMode.AdaptersOnNormalFloat && settings.Start != WeightAlgorithms.RoundToNearest,
            "cannot start with codes of float weights, because it does not keep float weights; remove start");
        Refuse(
            settings.Mode == TrainingMode.BlockWise && recipe.Ptq.ActivationOrder == ActivationOrder.Group
                && settings.Start.Rounding is WeightRounding.Gptq or WeightRounding.Gptaq,
            "cannot train groups of scattered columns; set activationOrder to weight");

        void Refuse(bool wrong, string fault)
        {
            if (wrong)
            {
                throw new NibbleException($"the recipe '{recipe.Name}' trains in the mode {NameOf(settings.Mode)}, which {fault}");
            }
        }
    }

    /// <summary>Rejects methods in the layers' rules that training does not support.</summary>
    /// <param name="recipe">The recipe.</param>
    /// <param name="settings">The training settings.</param>
    /// <param name="layers">The names of all layers that could be quantized.</param>
    /// <exception cref="NibbleException">The methods leave nothing to train, or contradict the settings.</exception>
    public static void RequireMethods(Recipe recipe, QatSettings settings, IEnumerable<string> layers)
    {
        var rules = layers.Select(recipe.RuleFor).OfType<RecipeRule>().Distinct().ToList();
        if (rules.Find(rule => rule.WeightMethod == Method.Ptq) is not { } solved)
        {
            return;
        }

        var (schedule, ranges) = (settings.Schedule, settings.Activations != ActivationEstimator.StraightThrough);
        var all = rules.TrueForAll(rule => rule.WeightMethod == Method.Ptq) && settings.FloatLearningRate is null or 0;
        Refuse(settings.Mode != TrainingMode.Full, $"cannot stay unchanged in the mode {NameOf(settings.Mode)}; use mode: full");
        Refuse(rules.Exists(rule => rule is { WeightMethod: Method.Ptq, Algorithms.BiasCorrection: true }),
            "cannot have the algorithm debias, which adds biases that the model lacks; remove it");
        Refuse(
            all && !(ranges && rules.Exists(rule => rule is { Activations.Scheme.Granularity: PerTensor, ActivationMethod: not Method.Ptq })),
            "leave nothing to train, as in all other layers: no activations have the method qat, granularity: tensor and an estimator that learns "
                + "ranges, and float parameters have no floatLearningRate; use post-training quantization, or specify what to train");
        Refuse(all && (schedule.FloatShare > 0 || schedule.ActivationDelay > 0),
            "leave nothing to train while activations are float; set floatShare and activationDelay to 0");

        void Refuse(bool wrong, string fault)
        {
            if (wrong)
            {
                throw new NibbleException($"the recipe '{recipe.Name}' has weights of the method ptq for {solved.Pattern}, which {fault}");
            }
        }
    }

    private static string NameOf(TrainingMode mode) => char.ToLowerInvariant(mode.ToString()[0]) + mode.ToString()[1..];

    /// <summary>Determines the starting point of a mode and inserts its quantizers into the model.</summary>
    /// <param name="source">The float model. Its checkpoint is read one block at a time if codes are needed.</param>
    /// <param name="recipe">What to do with each layer.</param>
    /// <param name="settings">The training settings.</param>
    /// <param name="data">Data to determine codes and ranges with.</param>
    /// <param name="calibration">The amount of data for calibrating static activations.</param>
    /// <param name="seed">The seed for all random choices.</param>
    /// <param name="folder">Where to keep computed codes, and the unfinished work on them, for a resumed run. Null keeps nothing.</param>
    /// <param name="warn">Receives warnings about these codes.</param>
    /// <param name="progress">Receives progress on the codes.</param>
    /// <param name="cancellation">Cancels between layers, steps and batches.</param>
    public static PreparedModel Prepare(
        LoadedModel source, Recipe recipe, QatSettings settings, ICalibrationData data, CalibrationOptions calibration, long seed, string? folder,
        Action<string>? warn, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        var options = settings.Mode is TrainingMode.BlockWise or TrainingMode.Scales
            ? Codes(source, recipe, settings, data, seed, folder, warn, progress, cancellation)
            : StartingPoint.Find(source, recipe, settings, data, calibration, seed, folder, warn, progress, cancellation);
        return new PreparedModel(
            source.Model.Module, source.Model.Layers, recipe, settings, options with { Seed = seed });
    }

    /// <summary>The initial codes, found by the start algorithms one block at a time. If the mode trains blocks, each block is also trained.</summary>
    private static PrepareOptions Codes(
        LoadedModel source, Recipe recipe, QatSettings settings, ICalibrationData data, long seed, string? folder, Action<string>? warn,
        IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        var blocks = settings.Mode == TrainingMode.BlockWise;
        var rules = recipe.Rules.Select(rule => rule.Weights is null
            ? rule
            : rule with
            {
                Algorithms = settings.Start,
                Range = settings.Start.DefaultRange ?? (rule.Range == WeightRange.MinMax ? WeightRange.Mse : rule.Range),
                WeightMethod = null,
                ActivationMethod = null
            });
        var start = recipe with
        {
            Rules = [.. rules],
            Ptq = blocks
                ? recipe.Ptq with
                {
                    SequenceLength = settings.SequenceLength,
                    Windows = Math.Max(recipe.Ptq.Windows, settings.BlockSteps * settings.BatchSize / Epochs)
                }
                : recipe.Ptq,
        };
        return StartingPoint.Take(source, StartingPoint.Solve(source, start, data, seed, blocks ? settings : null, folder, warn, progress, cancellation));
    }
}
