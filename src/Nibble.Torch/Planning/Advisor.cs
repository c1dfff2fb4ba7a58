using Nibble.Artifacts;
using Nibble.Models;
using Nibble.Planning;
using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;
using Nibble.Torch.Tasks;

namespace Nibble.Torch.Planning;

/// <summary>Recommends a method for a model. It tries the methods for a limited time and predicts the rest.</summary>
/// <remarks>
/// First it scores the float model. Then it tries the PTQ options for at most <see cref="PtqShare"/> of the time, starting with those that need no data. The
/// first option at each bit width also measures, one layer at a time, where its loss comes from. The remaining time goes to short training runs of several
/// lengths, for each trained option and for the float control. All models are scored on the same held-out windows, so that differences are paired.
/// </remarks>
internal sealed class Advisor
{
    /// <summary>Share of the probe's time for PTQ options, including the layer measurements.</summary>
    private const double PtqShare = 0.5;

    /// <summary>Share of the probe's time for measuring single layers, over all bit widths.</summary>
    private const double SensitivityShare = 0.1;

    /// <summary>Share of the probe's time for one score.</summary>
    private const double ScoreShare = 0.02;

    private int LeastWindows => options.Source.Definition.Task == ModelTask.LanguageModelling ? 4 : 64;

    private readonly AdvisorOptions options;
    private readonly CancellationToken cancellation;
    private readonly ProbeBudget budget;
    private readonly SensitivityProbe sensitivity;
    private readonly ModelShape shape;
    private readonly Dictionary<Candidate, Trial> trials = [];
    private LossLimits limits = LossLimits.For(null, 0);
    private double[] floatLosses = [];
    private int scoredPieces;

    private Advisor(AdvisorOptions options, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        var (tokens, longest) = (options.Constraints.CalibrationTokens, options.Source.Definition.MaxSequence);
        this.options = options with { Candidates = [.. options.Candidates.Select(candidate => candidate.Within(tokens, longest))] };
        this.cancellation = cancellation;
        budget = new ProbeBudget(options.Clock, options.ProbeSeconds, progress, cancellation);
        sensitivity = new SensitivityProbe(options, budget);
        shape = options.Source.Definition.ShapeOf(options.Source.Name);
    }

    /// <summary>Probes the model and decides.</summary>
    /// <param name="options">The options.</param>
    /// <param name="progress">Receives progress on all work.</param>
    /// <param name="cancellation">Cancels between windows, layers and steps.</param>
    /// <exception cref="NibbleException">The model is already quantized, or the held-out text is shorter than a window.</exception>
    public static AdvisorResult Run(AdvisorOptions options, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Source.RequireFloat();
        return new Advisor(options, progress, cancellation).Run();
    }

    private AdvisorResult Run()
    {
        var machine = MachineSpeed.Measure();
        var scored = ScoreFloat();
        limits = LossLimits.For(options.Source.Definition.Task, scored.Loss ?? 0);
        limits = limits with { Small = options.Tolerance ?? limits.Small };
        foreach (var candidate in options.Candidates.Where(candidate => candidate is { Trains: false, NeedsData: false }))
        {
            Quantize(candidate, machine);
        }

        // First the most likely option at each width, then the next ones. Widths that need nothing better come last.
        var others = options.Candidates.Where(candidate => candidate is { Trains: false, NeedsData: true }).ToList();
        foreach (var candidate in others.OrderBy(candidate => IsEnough(candidate.Bits))
            .ThenBy(candidate => others.Where(other => other.Bits == candidate.Bits).ToList().IndexOf(candidate)).ToList())
        {
            Quantize(candidate, machine);
        }

        var training = new TrainingProbe(options, budget, Differences, limits, IsEnough);
        if (options.Data is not null && options.Constraints.MayTrain)
        {
            training.Run([.. options.Candidates.Where(candidate => candidate.Trains)]);
        }

        var planner = new OptionPlanner(options, shape, machine, trials, training);
        var planned = options.Candidates.SelectMany(planner.Plan).ToList();
        return new AdvisorResult(
            shape, scored.Loss, scored.Count, scored.Predictions, planner.Control, planned,
            Decision.Of(planned, options.Constraints, limits), training.Curves, sensitivity.Measured,
            budget.Spent, machine, (int)TorchSharp.torch.get_num_threads())
        {
            Task = options.Source.Definition.Task ?? ModelTask.LanguageModelling,
            Limits = limits,
        };
    }

    /// <summary>Whether PTQ at a width was measured to lose no more than the tolerance.</summary>
    private bool IsEnough(int bits) => trials.Any(trial => trial.Key.Bits == bits && trial.Value.Loss.Value <= limits.Small);

    /// <summary>Scores the float model, first on a few windows to find out how many there is time for.</summary>
    private TaskScore ScoreFloat()
    {
        var all = Math.Min(options.Windows, options.HeldOut.CountPieces(options.Context));
        var before = budget.Spent;
        var scored = Score(options.Source.Model, Math.Min(LeastWindows, all));
        var window = (budget.Spent - before) / scored.Count;
        var affordable = (int)Math.Min(all, Math.Max(ScoreShare * options.ProbeSeconds / window, LeastWindows));
        scored = affordable > scored.Count ? Score(options.Source.Model, affordable) : scored;
        scoredPieces = scored.Count;
        floatLosses = [.. scored.PieceLosses];
        return scored;
    }

    private TaskScore Score(IQuantizableModel model, int windows)
    {
        // Tasks without a loss compare the model with the float model, which also works for texts without scores.
        if (options.Source.Definition.Task == ModelTask.Embedding)
        {
            return Embedding.Compare(model, options.Source.Model, (TextData)options.HeldOut, windows, cancellation);
        }

        return ModelTasks.Of(options.Source.Definition).Evaluate(
            model, options.HeldOut, new ScoreOptions { Context = options.Context, Count = windows }, progress: null, cancellation);
    }

    /// <summary>A model's losses minus the float model's, window by window.</summary>
    private double[] Differences(IQuantizableModel model) =>
        [.. Score(model, scoredPieces).PieceLosses.Zip(floatLosses, (loss, reference) => loss - reference)];

    private MethodCost PtqCost(Candidate candidate) => Sizes.PtqCost(shape, candidate, options.Data);

    private void Quantize(Candidate candidate, Hardware machine)
    {
        if (candidate.NeedsData && (options.Data is null || options.Constraints.CalibrationTokens == 0))
        {
            return;
        }

        // The duration of a run is predicted from the formula and from how far earlier runs exceeded theirs.
        var slowness = trials.Where(trial => trial.Key.NeedsData == candidate.NeedsData)
            .Select(trial => trial.Value.Seconds / PtqCost(trial.Key).Seconds(machine)).DefaultIfEmpty(1).Max();
        var left = (PtqShare * options.ProbeSeconds) - budget.Spent;
        if (slowness * PtqCost(candidate).Seconds(machine) > left)
        {
            return;
        }

        QuantizedModel? quantized = null;
        using var memory = PeakMemory.Watch();
        if (budget.Try(candidate.Name, left,
            (progress, stop) => quantized = PostTrainingQuantizer.Run(options.Source, candidate.Recipe, options.Data, options.Seed, progress, stop),
            out var seconds))
        {
            using var model = LoadedModel.Simulate(quantized!, candidate.Name);
            var trial = new Trial(Estimate.OfMean(Differences(model)), seconds, memory.Bytes);
            if (!candidate.NeedsData && candidate.Recipe.Rotation == Rotation.None && trials.Keys.All(known => known.Bits != candidate.Bits))
            {
                sensitivity.Run(candidate, quantized!, SensitivityShare * options.ProbeSeconds / options.Candidates.DistinctBy(other => other.Bits).Count());
            }

            trials.Add(candidate, trial);
        }
    }
}

/// <summary>A PTQ option that was run to completion.</summary>
/// <param name="Loss">The loss minus the float model's, in the task's unit.</param>
/// <param name="Seconds">The duration in seconds.</param>
/// <param name="PeakBytes">The peak memory of the process, in bytes.</param>
internal sealed record Trial(Estimate Loss, double Seconds, long PeakBytes);
