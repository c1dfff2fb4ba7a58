using Nibble.Planning;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Models;
using Nibble.Torch.Qat;

namespace Nibble.Torch.Planning;

/// <summary>
/// Short training runs of the options that train and of the float control. Each has a complete schedule. Their lengths are a quarter, a half and all of the
/// length that there is time for.
/// </summary>
/// <remarks>
/// An option that learns from the unchanged float model gains nothing from additional training as such, so the float model itself is its control.
/// </remarks>
/// <param name="options">The advisor's options.</param>
/// <param name="budget">The remaining time.</param>
/// <param name="differences">Scores a model: its losses minus the float model's, window by window.</param>
/// <param name="limits">The limits for losses. A float model that gains more than the usable limit by training does not fit the data.</param>
/// <param name="isEnough">Whether PTQ at a bit width loses so little that training need not be tried.</param>
internal sealed class TrainingProbe(
    AdvisorOptions options, ProbeBudget budget, Func<IQuantizableModel, double[]> differences, LossLimits limits, Func<int, bool> isEnough)
{
    /// <summary>The number of steps for measuring the time per step. Their result is discarded.</summary>
    private const int TimedSteps = 4;

    /// <summary>The minimum number of steps of a useful training run.</summary>
    private const int LeastSteps = 8;

    /// <summary>The share of the remaining time to plan for. The rest is a reserve for steps that take longer.</summary>
    private const double Planned = 0.85;

    private const string ControlName = "float control";

    private readonly Dictionary<Candidate, SortedList<int, ShortRun>> runs = [];
    private readonly SortedList<int, ShortRun> control = [];

    /// <summary>Whether every trained option learns from the unchanged float model.</summary>
    private bool LearnsFromFloat { get; } =
        options.Candidates.Where(candidate => candidate.Trains).All(candidate => candidate.Recipe.Qat.Distillation is { Weight: 1, TeacherSteps: 0 });

    /// <summary>Losses of the control by length. Empty if nothing was trained or if the float model itself is the control.</summary>
    public IReadOnlyList<LengthPoint> Control => Points(control);

    /// <summary>All curves, the control's first.</summary>
    public IReadOnlyList<ProbeCurve> Curves =>
        [
            .. control.Count == 0 ? [] : (ProbeCurve[])[new ProbeCurve(ControlName, Control)],
            .. runs.Select(item => new ProbeCurve(item.Key.Name, Points(item.Value))),
        ];

    /// <summary>
    /// Seconds per step of the control, or of the widest option if the control is not trained. Used for options that could not be tried. Null if nothing was
    /// trained.
    /// </summary>
    public double? ControlStep { get; private set; }

    /// <summary>The gaps between an option and the control, by length. Empty if the option was not tried.</summary>
    public IReadOnlyList<LengthPoint> Gaps(Candidate candidate) => !runs.TryGetValue(candidate, out var own) ? [] : LearnsFromFloat ? Points(own) :
        [.. own.Select(item => Point(item.Key, [.. item.Value.Differences.Zip(control[item.Key].Differences, (loss, reference) => loss - reference)]))];

    /// <summary>The loss of a run with exactly the given number of steps. Null if there was none.</summary>
    public Estimate? Measured(Candidate candidate, int steps) =>
        runs.TryGetValue(candidate, out var own) && own.TryGetValue(steps, out var run) ? Estimate.OfMean(run.Differences) : null;

    /// <summary>
    /// Seconds before the first step, which a hybrid needs for its PTQ solution, seconds per step, and the peak memory of the process. Null if the option was
    /// not tried.
    /// </summary>
    public (double Setup, double Step, long PeakBytes)? Cost(Candidate candidate) =>
        runs.TryGetValue(candidate, out var own) ? (own.Values[^1].Setup, own.Values[^1].Seconds / own.Keys[^1], own.Values.Max(run => run.PeakBytes)) : null;

    /// <summary>The training settings of an option for this model.</summary>
    public static QatSettings Settings(Candidate candidate, LoadedModel source) =>
        candidate.Recipe.Qat with { SequenceLength = Math.Min(candidate.Recipe.Qat.SequenceLength, source.Definition.MaxSequence) };

    /// <summary>Trains as much as there is time for.</summary>
    /// <param name="candidates">The options that train.</param>
    public void Run(IReadOnlyList<Candidate> candidates)
    {
        if (candidates.Count == 0)
        {
            return;
        }

        // The control trains like the widest option, whose rates are closest to those of float training.
        var widest = candidates.MaxBy(candidate => candidate.Bits)!;
        var reference = Settings(widest, options.Source);
        var brief = reference with { Steps = Math.Min(TimedSteps, reference.Steps) };
        if (Train(LearnsFromFloat ? widest : null, brief, budget.Remaining) is not { Seconds: > 0 } timed)
        {
            return;
        }

        ControlStep = timed.Seconds / brief.Steps;
        var (tried, lengths) = Plan(candidates, reference.Steps, isEnough);
        if (!LearnsFromFloat && tried.Count < candidates.Count && lengths.Count > 0 && TrainControl(reference, lengths[0])
            && control.Values[^1].Differences.Average() < -limits.Usable)
        {
            // The float model does not fit the data, so PTQ is not enough after all.
            (tried, lengths) = Plan(candidates, reference.Steps, _ => false);
        }

        foreach (var steps in lengths)
        {
            if (!LearnsFromFloat && !TrainControl(reference, steps))
            {
                return;
            }

            foreach (var candidate in tried)
            {
                if (Train(candidate, Settings(candidate, options.Source) with { Steps = steps }, budget.Remaining) is { } run)
                {
                    (runs.TryGetValue(candidate, out var own) ? own : runs[candidate] = []).Add(steps, run);
                }
            }
        }
    }

    /// <summary>Trains the float control for a number of steps unless that is done already. Returns whether there was time.</summary>
    private bool TrainControl(QatSettings settings, int steps)
    {
        if (!control.ContainsKey(steps) && Train(null, settings with { Steps = steps }, budget.Remaining) is { } floating)
        {
            control.Add(steps, floating);
            ControlStep = floating.Seconds / steps;
        }

        return control.ContainsKey(steps);
    }

    /// <summary>
    /// Plans what to train and for how long. If there is time, all options are trained in full. Otherwise, runs are short, bit widths that need no training are
    /// left out, and of the others as many are trained as fit, widest first.
    /// </summary>
    /// <param name="candidates">The options that train.</param>
    /// <param name="full">Steps of a full training run.</param>
    /// <param name="needless">Whether a bit width needs no training.</param>
    private (IReadOnlyList<Candidate> Tried, IReadOnlyList<int> Lengths) Plan(IReadOnlyList<Candidate> candidates, int full, Func<int, bool> needless)
    {
        if (Affordable(candidates.Count) >= full)
        {
            return (candidates, [full]);
        }

        List<Candidate> tried = [.. candidates.Where(candidate => !needless(candidate.Bits)).OrderByDescending(candidate => candidate.Bits)];
        while (tried.Count > 1 && Affordable(tried.Count) < LeastSteps)
        {
            tried.RemoveAt(tried.Count - 1);
        }

        return (tried, Affordable(tried.Count) >= full ? [full] : Lengths((int)Affordable(tried.Count)));

        double Affordable(int count) => Planned * budget.Remaining / (LearnsFromFloat ? count : count + 1) / ControlStep!.Value;
    }

    /// <summary>
    /// Lengths whose sum is at most a number of steps: three if they are long enough, otherwise one, or none if even one would be too short.
    /// </summary>
    private static IReadOnlyList<int> Lengths(int steps)
    {
        var longest = (int)(steps / 1.75);
        return longest >= LeastSteps ? [longest / 4, longest / 2, longest] : steps >= LeastSteps ? [steps] : [];
    }

    private ShortRun? Train(Candidate? candidate, QatSettings settings, double seconds)
    {
        double[]? losses = null;
        var (setup, taken) = (0d, 0d);
        using var memory = PeakMemory.Watch();
        var ended = budget.Try(
            $"{candidate?.Name ?? ControlName}, {settings.Steps} steps",
            seconds,
            (progress, stop) =>
            {
                var opened = options.Clock();
                using var trained = candidate is null ? LoadedModel.Open(options.Source.Folder, options.Source.Task)
                    : LoadedModel.OpenToTrain(options.Source.Folder, candidate.Recipe, options.Source.Task);
                var trainer = new QuantizationAwareTrainer(
                    trained, candidate?.Recipe, settings, options.Data!, CalibrationOptions.For(trained.Definition), options.Seed);
                var began = options.Clock();
                setup = began - opened;
                try
                {
                    trainer.Train(progress, stop);
                    taken = options.Clock() - began;
                    losses = differences(trained.Model);
                }
                catch (NibbleException)
                {
                    // Training diverged, so the loss of this option is infinite.
                    losses = [double.PositiveInfinity, double.PositiveInfinity];
                }
            },
            out _);
        return ended ? new ShortRun(losses!, setup, taken, memory.Bytes) : null;
    }

    private static IReadOnlyList<LengthPoint> Points(SortedList<int, ShortRun> runs) => [.. runs.Select(item => Point(item.Key, item.Value.Differences))];

    private static LengthPoint Point(int steps, double[] differences)
    {
        var mean = Estimate.OfMean(differences);
        return new LengthPoint(steps, mean.Value, mean.StandardError);
    }

    private sealed record ShortRun(double[] Differences, double Setup, double Seconds, long PeakBytes);
}
