using System.Globalization;
using Nibble.Planning;
using Nibble.Torch.Planning;

namespace Nibble.Cli.Report;

/// <summary>A request to the advisor.</summary>
/// <param name="Model">The model's name.</param>
/// <param name="Bytes">The model's size on disk.</param>
/// <param name="Text">The calibration and training data, in words.</param>
/// <param name="HeldOut">The held-out data, in words.</param>
/// <param name="Constraints">The limits for options.</param>
/// <param name="ProbeSeconds">Most seconds that the probe may take.</param>
/// <param name="CommandLine">The command that repeats the request.</param>
internal sealed record AdviceRequest(string Model, long Bytes, string Text, string HeldOut, Constraints Constraints, double ProbeSeconds, string CommandLine);

/// <summary>The advisor's answer in plain words.</summary>
internal static class AdviceText
{
    /// <summary>How many of the most sensitive layers to name.</summary>
    private const int WorstLayers = 3;

    /// <summary>The smallest difference visible in four decimals.</summary>
    private const double Shown = 0.00005;

    /// <summary>The conclusion in one sentence.</summary>
    public static string Headline(AdvisorResult result)
    {
        if (result.Decision.Recommended is not { } option)
        {
            return $"No option meets these constraints; the nearest is {result.Decision.RuledOut[0].Option.Name}.";
        }

        var width = WidthOf(result.Decision, option);
        if (option.Loss.Value > result.Limits.Usable)
        {
            return $"Not usable at {option.Bits} bits{(option.Trains ? ", even with training" : width.Trained is null ? " without training" : "")}: "
                + $"{option.Name} {Nearest(result.Decision, option)}.";
        }

        return width.Verdict switch
        {
            Verdict.PtqIsEnough when option.Evidence == Evidence.Typical =>
                $"PTQ is probably enough: {option.Recipe.Name}, although there was no time to try it (increase --probe-minutes).",
            Verdict.PtqIsEnough => $"PTQ is enough: {option.Recipe.Name}.",
            Verdict.TrainingWinsLittle when width.Trained!.Evidence == Evidence.Typical =>
                $"Use PTQ with {option.Recipe.Name} for now: there was no time to try training (increase --probe-minutes).",
            Verdict.TrainingWinsLittle => $"Use PTQ with {option.Recipe.Name}: training would gain too little.",
            Verdict.GainIsTraining => $"Use PTQ with {option.Recipe.Name}: training would improve the float model just as much.",
            Verdict.OnlyPtq => $"PTQ with {option.Recipe.Name} is the best allowed option.",
            _ => $"Train: {option.Name}.",
        };
    }

    /// <summary>The reasons, a sentence or two each.</summary>
    public static IEnumerable<string> Sentences(AdvisorResult result, AdviceRequest request)
    {
        var unit = LossUnit.Of(result.Task);
        if (result.Decision.Recommended is { } option)
        {
            yield return $"{option.Name} {Verb(option)} {unit.Write(option.Loss)} relative to float, "
                + $"{Numbers.Duration(option.Seconds)}, {Numbers.Bytes(option.PeakBytes)} of memory, "
                + $"{Numbers.Bytes(option.Bytes)} on disk instead of {Numbers.Bytes(request.Bytes)}.";
            if (option.Loss.Value > result.Limits.Small)
            {
                yield return AboutTolerance(result.Decision, option, unit.Limit(result.Limits.Small), result.Limits.Small);
            }
        }
        else
        {
            foreach (var item in result.Decision.RuledOut.Take(1))
            {
                yield return $"The nearest option, {item.Option.Name}, {string.Join("; it ", item.Broken.Select(broken => broken.Reason))}.";
            }
        }

        foreach (var width in result.Decision.Widths)
        {
            yield return About(width, result);
        }

        if (Sensitive(result) is { } sensitive)
        {
            yield return sensitive;
        }

        if (result.Control is { } control)
        {
            var wins = result.Decision.Widths.Any(width => width is { Ptq: { } ptq, Trained: { } trained } && trained.Loss.Value < ptq.Loss.Value);
            yield return control.Value < 0
                ? $"Training the float model equally long without quantization changes its loss by {unit.Write(control)}: "
                    + "QAT is compared with that, so that more training does not count as better quantization."
                : $"Training the float model equally long without quantization does not improve it ({unit.Write(control)})"
                    + $"{(wins ? ", so QAT's gain over PTQ does not come from more training" : string.Empty)}.";
        }
    }

    /// <summary>The method that a width needs, in words.</summary>
    public static string About(WidthDecision width, AdvisorResult result)
    {
        var (unit, limits) = (LossUnit.Of(result.Task), result.Limits);
        var unusable = !width.UnusableWithoutTraining ? ""
            : $" Not usable at {width.Bits} bits without training: PTQ has {unit.Write(width.Ptq!.Loss)}."
                + (width.Trained is { } trained && trained.Loss.Value > limits.Usable
                    ? $" Training has {unit.Write(trained.Loss)}, still more than the limit of {unit.Limit(limits.Usable)} for a usable model." : "");
        var reason = width switch
        {
            { Verdict: Verdict.PtqIsEnough, Ptq: { } ptq } =>
                $"{ptq.Name} {(ptq.Evidence == Evidence.Typical ? "was not tried, but should stay" : "stays")} within the acceptable loss",
            { Verdict: Verdict.OnlyPtq } => "no option with training is allowed",
            { Ptq: { } ptq, Trained: { } better } => AboutTraining(width.Verdict, ptq, better, unit, limits),
            _ => "every allowed option needs training",
        };
        return $"{width.Bits} bits: {reason}.{unusable}";
    }

    /// <summary>The gain of training over PTQ by the losses of the table, and the part of it that comes from more training.</summary>
    private static string AboutTraining(Verdict verdict, PlannedOption ptq, PlannedOption trained, LossUnit unit, LossLimits limits)
    {
        if (!double.IsFinite(ptq.Loss.Value) || !double.IsFinite(trained.Loss.Value))
        {
            return double.IsFinite(trained.Loss.Value)
                ? $"{ptq.Name} has {unit.Write(ptq.Loss)}, {trained.Name} has {unit.Write(trained.Loss)}"
                : $"training ({trained.Name}) has {unit.Write(trained.Loss)}, so there is no reason to use it";
        }

        var (plain, gain) = (ptq.Loss.Value - trained.Loss.Value, ptq.Quantization.Value - trained.Quantization.Value);
        if (plain <= 0)
        {
            return $"training ({trained.Name}) would gain nothing over {ptq.Name}";
        }

        var owed = plain - gain;
        var verb = trained.Evidence == Evidence.Measured ? "lowers" : "would lower";
        var lowers = $"training ({trained.Name}) {verb} the loss of {ptq.Name} by {Amount(plain)}";
        var share = owed < Shown ? ""
            : gain < Shown ? ", but training the float model alone gains just as much"
            : $", but training the float model alone gains {Amount(owed)} of that";
        return verdict switch
        {
            Verdict.TrainingPays => $"{lowers}{(owed < Shown ? "" : $", {Amount(gain)} more than training the float model alone gains")}",
            Verdict.TextIsNew => $"{lowers}{share}: the float model does not fit this text well, and PTQ of a float model that is first trained on it "
                + $"would do about as well",
            Verdict.OnlyTrainingIsUsable => $"{lowers}{share}: a small gain, but only training is usable",
            _ when gain < Shown => lowers + share,
            _ => $"{lowers}{share}: {(gain <= limits.WorthTraining ? "too little to be worth the time" : "within the uncertainty of the prediction")}",
        };

        string Amount(double loss) => $"{loss.ToString("0.0000", CultureInfo.InvariantCulture)} {unit.Amount}";
    }

    private static string AboutTolerance(Decision decision, PlannedOption option, string tolerance, double limit)
    {
        if (decision.Ranked.FirstOrDefault(other => other.Loss.Value <= limit) is not { } other)
        {
            return $"No allowed option stays within {tolerance} of float; this one {Nearest(decision, option)}.";
        }

        return other.Evidence == Evidence.Typical
            ? $"{other.Name} may stay within {tolerance} of float, but was not tried (increase --probe-minutes)."
            : $"{other.Name} stays within {tolerance} of float, but its gain beyond that of more training is too small or too uncertain to be worth its time.";
    }

    /// <summary>The reason for an option if none is good.</summary>
    private static string Nearest(Decision decision, PlannedOption option)
    {
        var better = decision.Ranked.Where(other => other.Loss.Value < option.Loss.Value).ToList();
        return better.Count == 0 ? "loses least"
            : !option.Trains && better.TrueForAll(other => other.Trains && other.Bits == option.Bits)
                ? "loses least without training, which would gain too little"
            : "loses least of the options worth their time";
    }

    /// <summary>The most sensitive layers at the recommended width, or else at the lowest width measured; null if none was measured.</summary>
    private static string? Sensitive(AdvisorResult result)
    {
        var bits = (result.Decision.Recommended ?? result.Decision.RuledOut[0].Option).Bits;
        var widths = result.Sensitivity.GroupBy(item => item.Change).ToList();
        if ((widths.Find(width => RecipeBits(width.Key) == bits) ?? widths.LastOrDefault())?.OrderByDescending(item => item.Distance.Divergence)
            .ToList() is not { } layers)
        {
            return null;
        }

        var worst = layers.Take(Math.Min(WorstLayers, layers.Count)).ToList();
        var share = worst.Sum(item => item.Distance.Divergence) / layers.Sum(item => item.Distance.Divergence);
        return $"Most sensitive layers at {RecipeBits(layers[0].Change)} bits: {string.Join(", ", worst.Select(item => item.Layer))}. They cause "
            + $"{Numbers.Share(share)} of the divergence of all {layers.Count} layers, quantized one at a time. Use nibble mix to give them more bits.";

        int RecipeBits(string recipe) => result.Options.First(option => option.Recipe.Name == recipe).Bits;
    }

    /// <summary>The data and limits of a request, in words.</summary>
    public static string MayUse(AdviceRequest request)
    {
        var constraints = request.Constraints;
        List<string> parts =
        [
            request.Text,
            constraints.MayTrain ? "training allowed" : "no training",
            constraints.CalibrationTokens is { } tokens ? $"at most {Numbers.Count(tokens)} calibration tokens" : "",
            constraints.Seconds is { } seconds ? $"at most {Numbers.Duration(seconds)}" : "no time limit",
            constraints.MemoryBytes is { } memory ? $"at most {Numbers.Bytes(memory)} of memory" : "no memory limit",
            constraints.Loss is { } loss ? $"a loss of at most {constraints.Unit.Write(loss)}" : "no loss limit",
            $"engine {TargetEngines.ByName.First(item => item.Value == constraints.Engine).Key}",
        ];
        return string.Join(", ", parts.Where(part => part.Length > 0));
    }

    /// <summary>The source of a prediction, in one word.</summary>
    public static string Word(Evidence evidence) => evidence.ToString().ToLower(CultureInfo.InvariantCulture);

    /// <summary>The decision for an option's width.</summary>
    public static WidthDecision WidthOf(Decision decision, PlannedOption option) => decision.Widths.First(width => width.Bits == option.Bits);

    private static string Verb(PlannedOption option) => option.Evidence switch
    {
        Evidence.Measured => "was measured:",
        Evidence.Extrapolated => "is predicted from shorter trainings:",
        _ => "was not tried; typical values:",
    };
}
