using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Models;

namespace Nibble.Torch.Qat;

/// <summary>What the modes of training need before their first step.</summary>
internal static class TrainingModes
{
    /// <summary>Block-wise training sees each of its windows about so often (EfficientQAT trains two epochs).</summary>
    private const int Epochs = 2;

    /// <summary>Refuses what a mode cannot do.</summary>
    /// <exception cref="NibbleException">The settings contradict each other.</exception>
    public static void Require(Recipe recipe, QatSettings settings)
    {
        var codes = settings.Mode is TrainingMode.BlockWise or TrainingMode.Scales;
        var schedule = settings.Schedule;
        Refuse(codes && settings.Estimator == GradientEstimator.StraightThrough,
            "learns scales, but the estimator straightThrough learns none; use learnedScale");
        Refuse(settings.Mode != TrainingMode.Full && (schedule.FloatShare > 0 || schedule.Gradual > 0),
            "trains no weights that could be float at first; leave floatShare and gradual at 0");
        Refuse(codes && schedule.AnnealFrom > 0, "begins with codes of the scheme's bits; leave annealFrom at 0");
        Refuse(codes && settings.Dampening > 0, "trains no weights end to end that could oscillate between codes; leave dampening at 0");
        Refuse(settings.Start.BiasCorrection, "cannot begin with debias, which gives layers biases that the model lacks; leave it out of start");
        Refuse(
            settings.Mode == TrainingMode.AdaptersOnNormalFloat && settings.Start != WeightAlgorithms.RoundToNearest,
            "cannot begin with codes of float weights, which it does not hold; leave start out");
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

    /// <summary>Refuses what training cannot do with the methods of the layers' rules.</summary>
    /// <param name="recipe">The recipe.</param>
    /// <param name="settings">How it is trained.</param>
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
        Refuse(settings.Mode != TrainingMode.Full, $"cannot stay as they are in the mode {NameOf(settings.Mode)}; use mode: full");
        Refuse(rules.Exists(rule => rule is { WeightMethod: Method.Ptq, Algorithms.BiasCorrection: true }),
            "cannot have the algorithm debias, which gives layers biases that the model lacks; leave it out");
        Refuse(
            all && !(ranges && rules.Exists(rule => rule is { Activations.Scheme.Granularity: PerTensor, ActivationMethod: not Method.Ptq })),
            "leave nothing to train, as those of all other layers do: no activations have the method qat, granularity: tensor and an estimator that learns "
                + "ranges, and what stays float has no floatLearningRate; use nibble ptq, or name what is to be trained");
        Refuse(all && (schedule.FloatShare > 0 || schedule.ActivationDelay > 0),
            "leave nothing to train as long as activations are float; leave floatShare and activationDelay at 0");

        void Refuse(bool wrong, string fault)
        {
            if (wrong)
            {
                throw new NibbleException($"the recipe '{recipe.Name}' has weights of the method ptq for {solved.Pattern}, which {fault}");
            }
        }
    }

    private static string NameOf(TrainingMode mode) => char.ToLowerInvariant(mode.ToString()[0]) + mode.ToString()[1..];

    /// <summary>Finds what a mode begins with, and puts its quantizers into the model.</summary>
    /// <param name="source">The float model, whose checkpoint is read a block at a time where codes are needed.</param>
    /// <param name="recipe">What to do with each layer.</param>
    /// <param name="settings">How to train.</param>
    /// <param name="data">Data to find codes and ranges with.</param>
    /// <param name="calibration">How much of it calibrates static activations.</param>
    /// <param name="seed">Drives everything random.</param>
    /// <param name="folder">Where codes that have to be found are kept for a run that goes on, and the work on them; null keeps nothing.</param>
    /// <param name="warn">Told what the user should know of these codes.</param>
    /// <param name="progress">Told of the way to the codes.</param>
    /// <param name="cancellation">Stops between layers, steps and batches.</param>
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

    /// <summary>The codes to begin with: what the start's algorithms find, a block at a time, trained where the mode trains blocks.</summary>
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
                Range = settings.Start.UsualRange ?? (rule.Range == WeightRange.MinMax ? WeightRange.Mse : rule.Range),
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
