using Nibble.Artifacts;
using Nibble.Models;
using Nibble.Planning;
using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;
using Nibble.Torch.Tasks;

namespace Nibble.Torch.Planning;

/// <summary>Answers which road a model needs, by trying the roads for a bounded time and foretelling the rest.</summary>
/// <remarks>
/// First the float model is scored, then the post-training options, those that need no text first, for at most <see cref="PtqShare"/> of the time; the first at
/// each width also shows,
/// a layer at a time, where its loss comes from. What is left goes to short trainings at several lengths, of each trained option and of the float control. All
/// are scored on the same
/// held-out windows, so that differences are paired.
/// </remarks>
internal sealed class Advisor
{
    /// <summary>Share of the probe's time that post-training options may take, with the look at layers.</summary>
    private const double PtqShare = 0.5;

    /// <summary>Share of the probe's time that the look at single layers may take, all widths together.</summary>
    private const double SensitivityShare = 0.1;

    /// <summary>Share of the probe's time that one score may take.</summary>
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
    /// <param name="options">What may be used.</param>
    /// <param name="progress">Told of every piece of work.</param>
    /// <param name="cancellation">Stops between windows, layers and steps.</param>
    /// <exception cref="NibbleException">The model is quantized already, or the held-out text is shorter than a window.</exception>
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

        // The likeliest at each width before the next at any; where a width needs no better, last.
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

    /// <summary>Whether PTQ at a width was seen to lose no more than is tolerated.</summary>
    private bool IsEnough(int bits) => trials.Any(trial => trial.Key.Bits == bits && trial.Value.Loss.Value <= limits.Small);

    /// <summary>Scores the float model: first on a few windows, to see how many there is time for.</summary>
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
        // Where there is no loss, what counts is how far the model is from the float model, which texts without scores tell too.
        if (options.Source.Definition.Task == ModelTask.Embedding)
        {
            return Embedding.Compare(model, options.Source.Model, (TextData)options.HeldOut, windows, cancellation);
        }

        return ModelTasks.Of(options.Source.Definition).Evaluate(
            model, options.HeldOut, new ScoreOptions { Context = options.Context, Count = windows }, progress: null, cancellation);
    }

    /// <summary>A model's losses over the float model's, window by window.</summary>
    private double[] Differences(IQuantizableModel model) =>
        [.. Score(model, scoredPieces).PieceLosses.Zip(floatLosses, (loss, reference) => loss - reference)];

    private RoadCost PtqCost(Candidate candidate) => Sizes.PtqCost(shape, candidate, options.Data);

    private void Quantize(Candidate candidate, Hardware machine)
    {
        if (candidate.NeedsData && (options.Data is null || options.Constraints.CalibrationTokens == 0))
        {
            return;
        }

        // What a run takes is known from the formula and from how far the runs before exceeded theirs.
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

/// <summary>A post-training option that was gone to its end.</summary>
/// <param name="Loss">Over the float model, in the task's unit.</param>
/// <param name="Seconds">What it took.</param>
/// <param name="PeakBytes">The most memory the process held.</param>
internal sealed record Trial(Estimate Loss, double Seconds, long PeakBytes);
