using System.Text.Json.Serialization;
using Nibble.Recipes;

namespace Nibble.Cli.Report;

/// <summary>The advice for one bit width.</summary>
/// <param name="Recipe">The recipe's name.</param>
/// <param name="Label">The width's name in sentences, such as <c>4 bits</c>.</param>
/// <param name="Method">The recommended method; null if no measured variant is good enough.</param>
/// <param name="Run">The run to use; null if no method is good enough.</param>
/// <param name="Text">The reasons, in sentences.</param>
internal sealed record WidthAdvice(
    string Recipe, string Label, [property: JsonConverter(typeof(NeitherOrMethodConverter))] Method? Method, string? Run, string Text);

/// <summary>The conclusions of a comparison, in words.</summary>
/// <remarks>
/// A PTQ run is compared with the float model. A QAT run is compared with the float control if training improved the control, so that more
/// training does not count as better quantization.
/// </remarks>
/// <param name="Headline">The conclusion in one sentence.</param>
/// <param name="Summary">The conclusion in a paragraph.</param>
/// <param name="Widths">The advice for each width, most bits first.</param>
internal sealed record Advice(string Headline, string Summary, IReadOnlyList<WidthAdvice> Widths)
{
    /// <summary>The answers to the questions that a comparison is run for; empty if nothing was measured.</summary>
    public IReadOnlyList<Answer> Answers { get; init; } = [];

    /// <summary>Draws the conclusions from a comparison.</summary>
    public static Advice For(ComparisonResult result)
    {
        if (!double.IsFinite(result.Baseline.Quality))
        {
            return new Advice(
                $"The float model gives no finite {result.Scale.Name}, so nothing can be compared with it.",
                "Check the checkpoint and the evaluation data first.", []);
        }

        var widths = Width.Of(result);
        if (widths.Count == 0)
        {
            return new Advice("No quantized variant was measured.", "Name at least one recipe to compare.", []);
        }

        var judge = new Judge(result);
        List<WidthAdvice> advice = [.. widths.Select(judge.Advise)];
        var headline = Headlined(advice);
        return new Advice(headline, judge.Summarize(widths, advice), advice) { Answers = Report.Answers.Of(result, widths, advice, headline) };
    }

    private static string Headlined(IEnumerable<WidthAdvice> advice)
    {
        var parts = advice.GroupBy(width => width.Method).OrderBy(group => group.Key is null).ThenBy(group => group.Key).Select(group =>
        {
            var labels = Enumerate([.. group.Select(width => width.Label)]);
            return group.Key switch
            {
                Method.Ptq => $"use post-training quantization (PTQ) at {labels}",
                Method.Qat => $"use quantization-aware training (QAT) at {labels}",
                Method.Hybrid => $"use the hybrid of both at {labels}",
                _ => $"use neither method at {labels}",
            };
        });
        var sentence = Enumerate([.. parts], ", ") + ".";
        return char.ToUpperInvariant(sentence[0]) + sentence[1..];
    }

    private static string Enumerate(IReadOnlyList<string> items, string lastComma = " ") => items.Count switch
    {
        1 => items[0],
        2 => $"{items[0]}{lastComma}and {items[1]}",
        _ => $"{string.Join(", ", items.Take(items.Count - 1))}{lastComma}and {items[^1]}",
    };

    /// <summary>Applies the rules to one comparison.</summary>
    /// <remarks>Whether a variant is usable is judged relative to the original float model. The cost of quantization is relative to the control if the
    /// control is better.</remarks>
    private sealed class Judge(ComparisonResult result)
    {
        private const string WayOut = "use more bits or smaller groups, give the layers with the largest errors more bits, or train longer.";

        private readonly QualityScale scale = result.Scale;
        private readonly ComparisonRun? control = result.Runs.FirstOrDefault(run => run.Method is null);

        /// <summary>The gain of the float control over the float model; 0 if there is none.</summary>
        private double TrainingGain => control is { } run && double.IsFinite(run.LossDifference) ? Math.Max(0, -run.LossDifference) : 0;

        private bool LearnsFromFloat => result.Qat?.Distillation is { Weight: 1 };

        /// <summary>Two standard errors of the difference between a variant and float, in points, from how often their answers differ; null if the scale does
        /// not count answers.</summary>
        private double? Chance => scale.CountsAnswers && result.Runs.Where(run => run.Agreement is not null).ToList() is { Count: > 0 } counted
            ? 200 * Math.Sqrt((1 - counted.Average(run => run.Agreement!.Value)) / result.Evaluation.Count)
            : null;

        public WidthAdvice Advise(Width width) => (width.Hybrid, width.Ptq ?? width.Qat) switch
        {
            (null, _) => AdvisePure(width),
            ({ } hybrid, null) => JudgeAlone(width, hybrid, Method.Hybrid, "Neither PTQ nor QAT was run, so it is unknown whether this width needs a hybrid."),
            ({ } hybrid, _) => Weigh(width, AdvisePure(width), hybrid),
        };

        public string Summarize(IReadOnlyList<Width> widths, IReadOnlyList<WidthAdvice> advice)
        {
            var runs = widths.SelectMany(width => width.Runs).ToList();
            var chosen = runs.Where(run => advice.Any(width => width.Run == run.Name)).OrderBy(run => run.Bytes).ThenBy(Loss).ToList();
            var close = chosen.Find(run => Loss(run) <= scale.Small);
            List<string> sentences = [];
            sentences.Add(close is null
                ? $"No recommended variant stays within {scale.Threshold(scale.Small)} of the float model's {scale.Name} of "
                    + $"{scale.Value(result.Baseline.Quality)}."
                : $"The smallest recommended variant within {scale.Threshold(scale.Small)} of {Reference(close)} is {Describe(close)}.");
            if (chosen.FirstOrDefault() is { } smallest && smallest != close)
            {
                sentences.Add($"The smallest usable variant, which loses at most {scale.Threshold(scale.Usable)}, is {Describe(smallest)}.");
            }

            if (runs.Exists(run => run.Method == Method.Qat))
            {
                sentences.Add(AboutControl(widths));
            }

            if (Chance is { } points)
            {
                sentences.Add($"With {Numbers.Count(result.Evaluation.Count)} {result.Evaluation.Unit}, differences of up to {scale.Threshold(points)} may be "
                    + $"due to chance.");
            }

            var slowdowns = widths.Where(width => width is { Ptq.Seconds: > 0, Qat: not null }).Select(width => width.Qat!.Seconds / width.Ptq!.Seconds).Order()
                .ToList();
            if (slowdowns.Count > 0)
            {
                sentences.Add($"QAT took {Numbers.Ratio(slowdowns[slowdowns.Count / 2])} as long as PTQ on this machine.");
            }

            return string.Join(' ', sentences);
        }

        private WidthAdvice AdvisePure(Width width) => (width.Ptq, width.Qat) switch
        {
            ({ } ptq, { } qat) => Compare(width, ptq, qat),
            ({ } ptq, null) => JudgeAlone(width, ptq, Method.Ptq, "QAT was not run, so it is unknown what training would gain."),
            (null, { } qat) => JudgeAlone(width, qat, Method.Qat, "PTQ was not run, so it is unknown whether this width needs training."),
            _ => throw new ArgumentException($"Width {width.Recipe} has no run.", nameof(width)),
        };

        private WidthAdvice Compare(Width width, ComparisonRun ptq, ComparisonRun qat)
        {
            if (Loss(ptq) <= scale.Small)
            {
                return Take(Method.Ptq, ptq,
                    $"{Result(ptq)}, within the {scale.Threshold(scale.Small)} that counts as a small loss. {Saving(ptq)} {AboutQat(ptq, qat)}");
            }

            if (!IsUsable(ptq) && !IsUsable(qat))
            {
                return Take(
                    null, null, $"{Result(ptq)}. {Result(qat)}{AgainstControl(qat)}. Both lose more than {scale.Threshold(scale.Usable)}, the limit "
                        + $"for a usable model: {WayOut}");
            }

            if (Gain(ptq, qat) > scale.WorthTraining)
            {
                return Take(Method.Qat, qat, $"{Result(ptq)}. {Result(qat)}{AgainstControl(qat)}. {Saving(qat)} {Price(ptq, qat)}");
            }

            return IsUsable(ptq)
                ? Take(Method.Ptq, ptq, $"{Result(ptq)}. {Saving(ptq)} {AboutQat(ptq, qat)}")
                : Take(Method.Qat, qat, $"{Result(ptq)}. {Result(qat)}{AgainstControl(qat)}. {Saving(qat)} {Price(ptq, qat)} {AboutNarrowWin(ptq, qat)}");

            WidthAdvice Take(Method? method, ComparisonRun? run, string text) => new(width.Recipe, width.Label, method, run?.Name, text);
        }

        /// <summary>Chooses the hybrid if it is worth its training: better than the pure methods by enough, or close to QAT in at most half the
        /// time.</summary>
        private WidthAdvice Weigh(Width width, WidthAdvice pure, ComparisonRun hybrid)
        {
            var chosen = width.Runs.FirstOrDefault(run => run.Name == pure.Run);
            var better = chosen is null
                ? IsUsable(hybrid)
                : Gain(chosen, hybrid) > scale.WorthTraining && !(pure.Method == Method.Ptq && Loss(chosen) <= scale.Small);
            var cheaper = pure.Method == Method.Qat && Gain(chosen!, hybrid) >= -scale.WorthTraining && IsUsable(hybrid)
                && hybrid.Seconds <= chosen!.Seconds / 2;
            var result = $"{Result(hybrid)}{AgainstControl(hybrid)} , in {Numbers.Duration(hybrid.Seconds)}";
            return better || cheaper
                ? pure with
                {
                    Method = Method.Hybrid,
                    Run = hybrid.Name,
                    Text = better
                        ? $"{result}: better than PTQ or QAT alone. {pure.Text}"
                        : $"{result}: within {scale.Threshold(scale.WorthTraining)} of QAT in at most half the time. {pure.Text}",
                }
                : pure with { Text = $"{pure.Text} {result}." };
        }

        private WidthAdvice JudgeAlone(Width width, ComparisonRun run, Method method, string caveat)
        {
            var start = $"{Result(run)}{AgainstControl(run)}";
            return !IsUsable(run)
                ? new WidthAdvice(width.Recipe, width.Label, null, null,
                    $"{start}. This is not usable: the limit is {scale.Threshold(scale.Usable)}. {caveat} To improve it, {WayOut}")
                : new WidthAdvice(
                    width.Recipe, width.Label, method, run.Name,
                    $"{start}{(Loss(run) <= scale.Small ? $", within the {scale.Threshold(scale.Small)} that counts as a small loss" : string.Empty)}. "
                        + $"{Saving(run)} {caveat}");
        }

        /// <summary>The loss that quantization causes, without the gain of more training; infinite if it was not measured.</summary>
        private double Loss(ComparisonRun run) =>
            !double.IsFinite(run.LossDifference) ? double.PositiveInfinity : run.LossDifference + (IsTrained(run) ? TrainingGain : 0);

        /// <summary>How much less quantization costs one run than another; NaN if neither was measured.</summary>
        private double Gain(ComparisonRun from, ComparisonRun to) => Loss(from) - Loss(to);

        private bool IsUsable(ComparisonRun run) => double.IsFinite(run.LossDifference) && run.LossDifference <= scale.Usable;

        private static bool IsTrained(ComparisonRun run) => run.Method is Method.Qat or Method.Hybrid;

        private string Reference(ComparisonRun run) => IsTrained(run) && TrainingGain > 0 ? "the float control" : "the float model";

        private static string Subject(ComparisonRun run) =>
            run.Method switch { Method.Qat => "QAT", Method.Hybrid => $"The hybrid ({run.Name})", _ => "PTQ" };

        private string Result(ComparisonRun run) => double.IsFinite(run.LossDifference)
            ? $"{Subject(run)} gives {scale.Name} {scale.Value(run.Quality)}, compared with {scale.Value(result.Baseline.Quality)} for float "
                + $"({scale.Change(run.LossDifference)})"
            : $"{Subject(run)} gives no finite {scale.Name}";

        private string AgainstControl(ComparisonRun run) =>
            IsTrained(run) && TrainingGain > 0 && double.IsFinite(run.LossDifference) ? $", or {scale.Change(Loss(run))} relative to the float control" : "";

        private string Saving(ComparisonRun run) =>
            $"The model goes from {Numbers.Bytes(result.Baseline.Bytes)} to {Numbers.Bytes(run.Bytes)} "
                + $"({Numbers.SizeChange(result.Baseline.Bytes, run.Bytes)}) in {Numbers.Duration(run.Seconds)}.";

        private string Describe(ComparisonRun run) =>
            $"{run.Name}: {scale.Name} {scale.Value(run.Quality)} ({scale.Change(run.LossDifference)} relative to float), {Numbers.Bytes(run.Bytes)} instead "
                + $"of {Numbers.Bytes(result.Baseline.Bytes)}, made in {Numbers.Duration(run.Seconds)}";

        private static string Price(ComparisonRun ptq, ComparisonRun qat) => ptq.Seconds > 0 && double.IsFinite(qat.Seconds)
            ? $"That is {Numbers.Ratio(qat.Seconds / ptq.Seconds)} as long as PTQ, which took "
                + $"{Numbers.Duration(ptq.Seconds)}{(qat.Bytes == ptq.Bytes ? " for a model of the same size" : string.Empty)}."
            : "";

        /// <summary>Why QAT is recommended if only it is usable, although PTQ loses hardly more.</summary>
        private string AboutNarrowWin(ComparisonRun ptq, ComparisonRun qat) => TrainingGain > Gain(ptq, qat)
            ? $"Most of its gain over PTQ comes from more training: the float control reaches {scale.Value(control!.Quality)}, so PTQ of a float model that "
                + $"is first trained on this text may do as well."
            : $"The two are close: PTQ loses slightly more than {scale.Threshold(scale.Usable)}, the limit for a usable model, and QAT slightly less.";

        /// <summary>The result of QAT, if PTQ is recommended.</summary>
        private string AboutQat(ComparisonRun ptq, ComparisonRun qat)
        {
            if (!double.IsFinite(qat.LossDifference))
            {
                return $"QAT gives no finite {scale.Name}: its training diverged.";
            }

            var faster = qat.Seconds < ptq.Seconds;
            var reached = ptq.Seconds > 0 ? $"QAT takes {Numbers.Ratio(qat.Seconds / ptq.Seconds)} as long and reaches {scale.Value(qat.Quality)}"
                : $"QAT takes {Numbers.Duration(qat.Seconds)} and reaches {scale.Value(qat.Quality)}";
            var (gain, plain) = (Gain(ptq, qat), ptq.LossDifference - qat.LossDifference);
            var (worth, enough) = (scale.Threshold(scale.WorthTraining), scale.WorthTraining);
            return (gain, plain) switch
            {
                _ when gain > enough && control is null && LearnsFromFloat => $"{reached}, which is better than PTQ: use it if quality matters most.",
                _ when gain > enough && control is null =>
                    $"{reached}, which is better than PTQ: use it if quality matters most. Without a float control, it is unknown how much of the gain comes "
                    + $"from more training.",
                _ when gain > enough => $"{reached}, which is better than PTQ by more than the extra training explains: use it if quality matters most.",
                _ when plain > enough =>
                    $"{reached}, but the float control, trained equally long without quantization, reaches {scale.Value(control!.Quality)}: the gain comes "
                        + $"from more training, not from better quantization.",
                _ when gain < -enough && plain > 0 =>
                    $"{reached}, better than PTQ, but by less than the float control gains: part of the training only compensates for the quantization.",
                _ when gain < -enough =>
                    $"{reached}, worse than PTQ{(plain < -enough ? string.Empty : " without the gain of more training")}: its training settings do "
                    + $"not seem to suit this model.",
                _ when faster => $"{reached}, within {worth} of PTQ: either method works here.",
                _ => $"{reached}, within {worth} of PTQ: QAT is not worth its time here.",
            };
        }

        private string AboutControl(IReadOnlyList<Width> widths)
        {
            List<string> won = [.. widths.Where(width => width is { Ptq: { } ptq, Qat: { } qat } && qat.LossDifference < ptq.LossDifference)
                .Select(width => width.Label)];
            if (control is null && LearnsFromFloat)
            {
                return "QAT learned only from the float model, without labels, so its gain over PTQ does not come from more training.";
            }

            if (control is null)
            {
                return won.Count > 0
                    ? "There is no float control, so part of QAT's gain may come from more training."
                    : "There is no float control, so the effect of more training alone is unknown.";
            }

            var steps = result.Qat is { } qat ? $"the same {Numbers.Count(qat.Steps)} steps" : "as long";
            var trained = $"The float control, trained for {steps} without quantization, ";
            return control.LossDifference switch
            {
                var loss when !double.IsFinite(loss) =>
                    $"{trained}gives no finite {scale.Name}, so QAT is compared with the original model: lower the learning rate.",
                < 0 and var loss => $"{trained}goes from {scale.Name} {scale.Value(result.Baseline.Quality)} to {scale.Value(control.Quality)} "
                    + $"({scale.Change(loss)}), so QAT is compared with the control: more training does not count as better quantization.",
                var loss when won.Count > 0 =>
                    $"{trained}does not improve on the original ({scale.Change(loss)}), so QAT's gain over PTQ at {Enumerate(won)} comes from training with "
                    + $"quantization, not from more training.",
                var loss => $"{trained}does not improve on the original ({scale.Change(loss)}).",
            };
        }
    }
}
