using Nibble.Models;
using Nibble.Planning;
using Nibble.Torch.Models;

namespace Nibble.Torch.Planning;

/// <summary>Turns candidates into options: predicts the loss and the cost of each from the measurements.</summary>
internal sealed class OptionPlanner(
    AdvisorOptions options, ModelShape shape, Hardware machine, IReadOnlyDictionary<Candidate, Trial> trials, TrainingProbe training)
{
    /// <summary>Lengths of shorter training runs to offer if the full one takes too long, as shares of its steps.</summary>
    private static readonly double[] ShorterShares = [1d / 3, 1d / 10];

    private readonly List<KeyValuePair<string, int>> layers =
        [.. options.Source.Model.Linears().Select(linear => KeyValuePair.Create(linear.Key, (int)linear.Value.InFeatures))];

    /// <summary>The predicted effect of training the float control for the steps of the longest option. Null if nothing was trained.</summary>
    public Estimate? Control =>
        training.Control.Count == 0 ? null : ControlAt(options.Candidates.Where(candidate => candidate.Trains).Max(candidate => candidate.Recipe.Qat.Steps));

    /// <summary>The options of a candidate: one, or one per length of training.</summary>
    public IEnumerable<PlannedOption> Plan(Candidate candidate)
    {
        if (!candidate.Trains)
        {
            yield return Ptq(candidate);
            yield break;
        }

        var full = candidate.Recipe.Qat.Steps;
        var whole = Trained(candidate, full);
        yield return whole;
        if (whole.Seconds > options.Constraints.Seconds)
        {
            foreach (var share in ShorterShares)
            {
                yield return Trained(candidate, Math.Max(1, (int)(full * share)));
            }
        }
    }

    private PlannedOption Ptq(Candidate candidate)
    {
        var cost = Sizes.PtqCost(shape, candidate, options.Data);
        var trial = trials.GetValueOrDefault(candidate);
        var loss = trial?.Loss ?? Typical(candidate);
        return Option(candidate, 0, loss, loss, trial is null ? Evidence.Typical : Evidence.Measured) with
        {
            Seconds = trial?.Seconds ?? cost.Seconds(machine),
            PeakBytes = trial?.PeakBytes ?? (Environment.WorkingSet + (long)cost.PeakBytes),
            Tokens = candidate.NeedsData ? cost.Tokens : 0,
        };
    }

    private PlannedOption Trained(Candidate candidate, int steps)
    {
        var settings = TrainingProbe.Settings(candidate, options.Source);
        var cost = MethodCost.Training(shape, steps, settings.BatchSize, Sizes.LengthOf(options.Data, settings.SequenceLength));
        var measured = training.Cost(candidate);
        var (loss, quantization, evidence) = Losses(candidate, steps);
        return Option(candidate, steps, loss, quantization, evidence) with
        {
            Seconds = (measured?.Setup ?? 0) + (steps * (measured?.Step ?? training.ControlStep ?? (cost.Seconds(machine) / steps))),
            PeakBytes = measured?.PeakBytes ?? (Environment.WorkingSet + (long)cost.PeakBytes),
            Tokens = cost.Tokens,
        };
    }

    private (Estimate Loss, Estimate Quantization, Evidence Evidence) Losses(Candidate candidate, int steps)
    {
        var gaps = training.Gaps(candidate);
        if (gaps.Count == 0)
        {
            var typical = Typical(candidate);
            return training.Control.Count == 0 ? (typical, typical, Evidence.Typical) : Beside(typical, ControlAt(steps), Evidence.Typical);
        }

        var control = ControlAt(steps);
        if (training.Measured(candidate, steps) is { } exact)
        {
            return (exact, control.Value < 0 ? Estimate.Around(exact.Value - control.Value, exact.Half) : exact, Evidence.Measured);
        }

        var gap = gaps.Any(point => !double.IsFinite(point.Loss)) ? new Estimate(double.PositiveInfinity, 0, double.PositiveInfinity)
            : LossCurve.Gap(gaps, steps);
        return Beside(gap, control, Evidence.Extrapolated);
    }

    /// <summary>The loss of an option over float, from its gap to the control and the control's loss.</summary>
    private static (Estimate Loss, Estimate Quantization, Evidence Evidence) Beside(Estimate gap, Estimate control, Evidence evidence)
    {
        // The interval of typical values is a factor to both sides and keeps its shape.
        var loss = evidence == Evidence.Typical ? new Estimate(gap.Value + control.Value, gap.Low + control.Low, gap.High + control.High) : gap + control;

        // A few steps at the full rate make the control worse than float. That more steps do the same would have to be shown first.
        return (loss, control.Low < 0 ? gap : loss, evidence);
    }

    /// <summary>The loss of the control. It is zero if the float model itself is the control.</summary>
    private Estimate ControlAt(int steps) => training.Control.Count == 0 ? default
        : training.Control.FirstOrDefault(point => point.Steps == steps) is { Steps: > 0 } exact
        ? Estimate.Around(exact.Loss, Estimate.Errors * exact.Error)
        : LossCurve.Control(training.Control, steps);

    /// <summary>The typical loss of an option that could not be tried, from plain round to nearest at its bit width.</summary>
    private Estimate Typical(Candidate candidate)
    {
        var known = trials.Where(trial => trial.Key.Bits == candidate.Bits && !trial.Key.NeedsData).Select(trial => (double?)trial.Value.Loss.Value).Max();
        return known is { } nearest ? TypicalLosses.Of(candidate, nearest) : new Estimate(double.NaN, double.NegativeInfinity, double.PositiveInfinity);
    }

    private PlannedOption Option(Candidate candidate, int steps, Estimate loss, Estimate quantization, Evidence evidence) => new()
    {
        Name = candidate.Name + (steps > 0 && steps != candidate.Recipe.Qat.Steps ? $", {steps} steps" : string.Empty),
        Method = candidate.Method,
        Recipe = candidate.Recipe,
        Bits = candidate.Bits,
        Steps = steps,
        Loss = loss,
        Quantization = quantization,
        Evidence = evidence,
        Seconds = 0,
        PeakBytes = 0,
        Bytes = Sizes.ArtifactBytes(options.Source, candidate.Recipe),
        Tokens = 0,
        NeedsData = candidate.NeedsData,
        Command = options.Command(candidate, steps),
        EngineRefusal = TargetEngines.Refusal(options.Constraints.Engine, candidate.Recipe, layers),
    };
}
