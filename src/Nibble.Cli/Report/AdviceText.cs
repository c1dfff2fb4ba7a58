using System.Globalization;
using Nibble.Planning;
using Nibble.Torch.Planning;

namespace Nibble.Cli.Report;

/// <summary>What was asked of the advisor.</summary>
/// <param name="Model">What the model is called.</param>
/// <param name="Bytes">Its size on disk.</param>
/// <param name="Text">The data it may calibrate and train on, in words.</param>
/// <param name="HeldOut">The data it scores on, in words.</param>
/// <param name="Constraints">What options may take.</param>
/// <param name="ProbeSeconds">Seconds that the probe may take.</param>
/// <param name="CommandLine">What repeats it.</param>
internal sealed record AdviceRequest(string Model, long Bytes, string Text, string HeldOut, Constraints Constraints, double ProbeSeconds, string CommandLine);

/// <summary>The advisor's answer in plain words.</summary>
internal static class AdviceText
{
    /// <summary>Layers to name as the most sensitive.</summary>
    private const int WorstLayers = 3;

    /// <summary>The least difference that four decimals show.</summary>
    private const double Shown = 0.00005;

    /// <summary>The conclusion in one sentence.</summary>
    public static string Headline(AdvisorResult result)
    {
        if (result.Decision.Recommended is not { } option)
        {
            return $"Nothing satisfies these constraints; the nearest is {result.Decision.RuledOut[0].Option.Name}.";
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
                $"PTQ is probably enough: {option.Recipe.Name}, for which there was no time to try it (--probe-minutes).",
            Verdict.PtqIsEnough => $"PTQ is enough: {option.Recipe.Name}.",
            Verdict.TrainingWinsLittle when width.Trained!.Evidence == Evidence.Typical =>
                $"PTQ with {option.Recipe.Name}, as far as is known: there was no time to try training (--probe-minutes).",
            Verdict.TrainingWinsLittle => $"PTQ with {option.Recipe.Name}: training would win too little.",
            Verdict.GainIsTraining => $"PTQ with {option.Recipe.Name}: what training would win, it would win without quantization too.",
            Verdict.OnlyPtq => $"PTQ with {option.Recipe.Name} is the best that is allowed.",
            _ => $"Train: {option.Name}.",
        };
    }

    /// <summary>The reasons, a sentence or two each.</summary>
    public static IEnumerable<string> Sentences(AdvisorResult result, AdviceRequest request)
    {
        var unit = LossUnit.Of(result.Task);
        if (result.Decision.Recommended is { } option)
        {
            yield return $"{option.Name} {Verb(option)} {unit.Write(option.Loss)} against float, "
                + $"{Numbers.Duration(option.Seconds)}, {Numbers.Bytes(option.PeakBytes)} of memory; "
                + $"{Numbers.Bytes(option.Bytes)} instead of {Numbers.Bytes(request.Bytes)}.";
            if (option.Loss.Value > result.Limits.Small)
            {
                yield return AboutTolerance(result.Decision, option, unit.Limit(result.Limits.Small), result.Limits.Small);
            }
        }
        else
        {
            foreach (var item in result.Decision.RuledOut.Take(1))
            {
                yield return $"The nearest, {item.Option.Name}, {string.Join("; it ", item.Broken.Select(broken => broken.Reason))}.";
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
                ? $"Training the float model alone for as long changes its loss by {unit.Write(control)}: "
                    + "QAT's gain is judged against that, so that more training is not mistaken for better quantization."
                : $"Training the float model alone for as long does not improve it ({unit.Write(control)})"
                    + $"{(wins ? ", so nothing that QAT wins over PTQ is owed to more training" : string.Empty)}.";
        }
    }

    /// <summary>What a width needs, in words.</summary>
    public static string About(WidthDecision width, AdvisorResult result)
    {
        var (unit, limits) = (LossUnit.Of(result.Task), result.Limits);
        var unusable = !width.UnusableWithoutTraining ? ""
            : $" Not usable at {width.Bits} bits without training: PTQ {unit.Write(width.Ptq!.Loss)}."
                + (width.Trained is { } trained && trained.Loss.Value > limits.Usable
                    ? $" Training {unit.Write(trained.Loss)}, still more than the {unit.Limit(limits.Usable)} that counts as usable." : "");
        var reason = width switch
        {
            { Verdict: Verdict.PtqIsEnough, Ptq: { } ptq } =>
                $"{ptq.Name} {(ptq.Evidence == Evidence.Typical ? "was not tried, but should lose" : "loses")} no more than is tolerated",
            { Verdict: Verdict.OnlyPtq } => "no option that trains is allowed",
            { Ptq: { } ptq, Trained: { } better } => AboutTraining(width.Verdict, ptq, better, unit, limits),
            _ => "every allowed option trains",
        };
        return $"{width.Bits} bits: {reason}.{unusable}";
    }

    /// <summary>What training wins over PTQ: by the losses of the table, and how much of that is owed to more training.</summary>
    private static string AboutTraining(Verdict verdict, PlannedOption ptq, PlannedOption trained, LossUnit unit, LossLimits limits)
    {
        if (!double.IsFinite(ptq.Loss.Value) || !double.IsFinite(trained.Loss.Value))
        {
            return double.IsFinite(trained.Loss.Value)
                ? $"{ptq.Name} has {unit.Write(ptq.Loss)}, {trained.Name} {unit.Write(trained.Loss)}"
                : $"training ({trained.Name}) has {unit.Write(trained.Loss)}, so nothing speaks for it";
        }

        var (plain, gain) = (ptq.Loss.Value - trained.Loss.Value, ptq.Quantization.Value - trained.Quantization.Value);
        if (plain <= 0)
        {
            return $"training ({trained.Name}) would win nothing over {ptq.Name}";
        }

        var owed = plain - gain;
        var verb = trained.Evidence == Evidence.Measured ? "lowers" : "would lower";
        var lowers = $"training ({trained.Name}) {verb} the loss of {ptq.Name} by {Amount(plain)}";
        var share = owed < Shown ? ""
            : gain < Shown ? ", and training the float model alone gains as much"
            : $", {Amount(owed)} of which training the float model alone gains too";
        return verdict switch
        {
            Verdict.TrainingPays => $"{lowers}{(owed < Shown ? "" : $", {Amount(gain)} of which are beyond what training the float model alone gains")}",
            Verdict.TextIsNew => $"{lowers}{share}: the float model does not fit this text well, and one that is trained on it first and then quantized by PTQ "
                + $"would do about as well",
            Verdict.OnlyTrainingIsUsable => $"{lowers}{share}: little, but only that is usable",
            _ when gain < Shown => lowers + share,
            _ => $"{lowers}{share}: {(gain <= limits.WorthTraining ? "too little to be worth it" : "no more than the prediction is uncertain by")}",
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
            ? $"{other.Name} may stay within {tolerance} of float, but was not tried (--probe-minutes)."
            : $"{other.Name} stays within {tolerance} of float, but what it wins beyond more training is too little, or too uncertain, to be worth its time.";
    }

    /// <summary>What speaks for an option where none is good.</summary>
    private static string Nearest(Decision decision, PlannedOption option)
    {
        var better = decision.Ranked.Where(other => other.Loss.Value < option.Loss.Value).ToList();
        return better.Count == 0 ? "loses least"
            : !option.Trains && better.TrueForAll(other => other.Trains && other.Bits == option.Bits)
                ? "loses least without training, which would win too little"
            : "loses least of those worth their time";
    }

    /// <summary>Which layers cost most at the width of the answer, or at the fewest bits that were looked at; null where none were.</summary>
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
        return $"Most sensitive at {RecipeBits(layers[0].Change)} bits: {string.Join(", ", worst.Select(item => item.Layer))}, with {Numbers.Share(share)} of "
            + $"what all {layers.Count} layers cost one at a time; nibble mix can give them more bits than the others.";

        int RecipeBits(string recipe) => result.Options.First(option => option.Recipe.Name == recipe).Bits;
    }

    /// <summary>What the advisor may use, in words.</summary>
    public static string MayUse(AdviceRequest request)
    {
        var constraints = request.Constraints;
        List<string> parts =
        [
            request.Text,
            constraints.MayTrain ? "training allowed" : "no training",
            constraints.CalibrationTokens is { } tokens ? $"at most {Numbers.Count(tokens)} tokens to calibrate on" : "",
            constraints.Seconds is { } seconds ? $"at most {Numbers.Duration(seconds)}" : "any time",
            constraints.MemoryBytes is { } memory ? $"at most {Numbers.Bytes(memory)} of memory" : "any memory",
            constraints.Loss is { } loss ? $"a loss of at most {constraints.Unit.Write(loss)}" : "any loss",
            $"for {TargetEngines.ByName.First(item => item.Value == constraints.Engine).Key}",
        ];
        return string.Join(", ", parts.Where(part => part.Length > 0));
    }

    /// <summary>Where a prediction comes from, in a word.</summary>
    public static string Word(Evidence evidence) => evidence.ToString().ToLower(CultureInfo.InvariantCulture);

    /// <summary>The decision on an option's width.</summary>
    public static WidthDecision WidthOf(Decision decision, PlannedOption option) => decision.Widths.First(width => width.Bits == option.Bits);

    private static string Verb(PlannedOption option) => option.Evidence switch
    {
        Evidence.Measured => "was measured:",
        Evidence.Extrapolated => "is predicted from shorter trainings:",
        _ => "was not tried; typical are",
    };
}
