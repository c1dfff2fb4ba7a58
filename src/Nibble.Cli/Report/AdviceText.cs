using System.Globalization;
using Nibble.Planning;
using Nibble.Torch.Planning;

namespace Nibble.Cli.Report;

/// <summary>What was asked of the advisor.</summary>
/// <param name="Model">What the model is called.</param>
/// <param name="Bytes">Its size on disk.</param>
/// <param name="Text">The text it may calibrate and train on, in words.</param>
/// <param name="HeldOut">The text it scores on, in words.</param>
/// <param name="Constraints">What options may take.</param>
/// <param name="ProbeSeconds">Seconds that the probe may take.</param>
/// <param name="Tolerance">The loss over float that counts as none, nats.</param>
/// <param name="CommandLine">What repeats it.</param>
internal sealed record AdviceRequest(string Model, long Bytes, string Text, string HeldOut, Constraints Constraints, double ProbeSeconds, double Tolerance, string CommandLine);

/// <summary>The advisor's answer in plain words.</summary>
internal static class AdviceText
{
    /// <summary>Layers to name as the most sensitive.</summary>
    private const int WorstLayers = 3;

    /// <summary>The conclusion in one sentence.</summary>
    public static string Headline(AdvisorResult result)
    {
        if (result.Decision.Recommended is not { } option)
        {
            return $"Nothing satisfies these constraints; the nearest is {result.Decision.RuledOut[0].Option.Name}.";
        }

        var width = WidthOf(result.Decision, option);
        if (option.Quantization.Value > Thresholds.UsableLoss)
        {
            return $"Not usable at {option.Bits} bits{(option.Trains ? ", even with training" : width.Trained is null ? " without training" : "")}: {option.Name} loses least.";
        }

        return width.Verdict switch
        {
            Verdict.PtqIsEnough => $"PTQ is enough: {option.Recipe.Name}.",
            Verdict.TrainingWinsLittle when width.Trained!.Evidence == Evidence.Typical => $"PTQ with {option.Recipe.Name}, as far as is known: there was no time to try training (--probe-minutes).",
            Verdict.TrainingWinsLittle or Verdict.GainIsTraining => $"PTQ is enough: {option.Recipe.Name}; training would not quantize better.",
            Verdict.OnlyPtq => $"PTQ with {option.Recipe.Name} is the best that is allowed.",
            _ => $"Train: {option.Name}.",
        };
    }

    /// <summary>The reasons, a sentence or two each.</summary>
    public static IEnumerable<string> Sentences(AdvisorResult result, AdviceRequest request)
    {
        if (result.Decision.Recommended is { } option)
        {
            yield return $"{option.Name} {Verb(option)} {Loss(option.Loss)} against float, {Numbers.Duration(option.Seconds)}, {Numbers.Bytes(option.PeakBytes)} of memory; {Numbers.Bytes(option.Bytes)} instead of {Numbers.Bytes(request.Bytes)}.";
            if (option.Quantization.Value > request.Tolerance)
            {
                yield return $"No allowed option stays within {Numbers.Threshold(request.Tolerance)} of float; this is the one that loses least.";
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
            yield return About(width);
        }

        if (Sensitive(result) is { } sensitive)
        {
            yield return sensitive;
        }

        if (result.Control is { } control)
        {
            yield return control.Value < 0
                ? $"Training the float model alone for as long changes its loss by {Loss(control)}: QAT's gain is judged against that, so that more training is not mistaken for better quantization."
                : $"Training the float model alone for as long does not improve it ({Loss(control)}), so nothing that QAT wins over PTQ is owed to more training.";
        }

        if (request.Constraints.Engine is Engine.LlamaCpp or Engine.OnnxRuntime)
        {
            yield return "Nibble does not write this engine's files yet: the check says what the engine's formats could hold exactly.";
        }
    }

    /// <summary>What a width needs, in words.</summary>
    public static string About(WidthDecision width)
    {
        var unusable = !width.UnusableWithoutTraining ? ""
            : $" Not usable at {width.Bits} bits without training: PTQ {Loss(width.Ptq!.Loss)}."
                + (width.Trained is { } trained && trained.Loss.Value > Thresholds.UsableLoss ? $" Training {Loss(trained.Loss)}, still more than the {Numbers.Threshold(Thresholds.UsableLoss)} that counts as usable." : "");
        var gained = width is { Ptq: { } ptq, Trained: { } qat } ? ptq.Quantization.Value - qat.Quantization.Value : 0;
        var gain = Numbers.Loss(gained);
        var reason = width.Verdict switch
        {
            Verdict.PtqIsEnough => $"{width.Ptq!.Name} {(width.Ptq.Evidence == Evidence.Typical ? "was not tried, but should lose" : "loses")} no more than is tolerated",
            Verdict.TrainingWinsLittle when gained <= 0 => $"training ({width.Trained!.Name}) would win nothing over {width.Ptq!.Name}",
            Verdict.TrainingWinsLittle => $"training ({width.Trained!.Name}) would win {gain} nats over {width.Ptq!.Name}, which is too little or no more than the prediction is uncertain by",
            Verdict.GainIsTraining => $"training ({width.Trained!.Name}) would give a better model, but no more so than training the float model first; of what quantization costs it wins {gain} nats over {width.Ptq!.Name}",
            Verdict.TextIsNew => $"the float model does not fit this text, and training alone gains most of what {width.Trained!.Name} gains over {width.Ptq!.Name}; a float model trained on it first and then quantized by PTQ would do about as well",
            Verdict.TrainingPays => $"{width.Trained!.Name} wins {gain} nats over {width.Ptq!.Name}, beyond what training alone gains",
            Verdict.OnlyPtq => "no option that trains is allowed",
            _ => "every allowed option trains",
        };
        return $"{width.Bits} bits: {reason}.{unusable}";
    }

    /// <summary>A predicted loss with its interval, such as <c>+0.0129 nats (+1.3%; -0.0010 to +0.0270)</c>.</summary>
    public static string Loss(Estimate loss) => double.IsFinite(loss.Value)
        ? $"{Numbers.Loss(loss.Value)} nats ({Numbers.Change(loss.Value)}; {Numbers.Loss(loss.Low)} to {Numbers.Loss(loss.High)})"
        : "an unknown loss";

    /// <summary>Which layers cost most at the width of the answer, or at the fewest bits that were looked at; null where none were.</summary>
    private static string? Sensitive(AdvisorResult result)
    {
        var bits = (result.Decision.Recommended ?? result.Decision.RuledOut[0].Option).Bits;
        var widths = result.Sensitivity.GroupBy(item => item.Change).ToList();
        if ((widths.Find(width => RecipeBits(width.Key) == bits) ?? widths.LastOrDefault())?.OrderByDescending(item => item.Distance.Divergence).ToList() is not { } layers)
        {
            return null;
        }

        var worst = layers.Take(Math.Min(WorstLayers, layers.Count)).ToList();
        var share = worst.Sum(item => item.Distance.Divergence) / layers.Sum(item => item.Distance.Divergence);
        return $"Most sensitive at {RecipeBits(layers[0].Change)} bits: {string.Join(", ", worst.Select(item => item.Layer))}, with {Numbers.Share(share)} of what all {layers.Count} layers cost one at a time; nibble mix can give them more bits than the others.";

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
            constraints.Loss is { } loss ? $"a loss of at most {Numbers.Loss(loss)} nats" : "any loss",
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
        Evidence.Extrapolated => "is foretold from shorter trainings:",
        _ => "was not tried; usual are",
    };
}
