using System.Text.Json.Serialization;
using Nibble.Recipes;

namespace Nibble.Cli.Report;

/// <summary>What the measurements say about one width.</summary>
/// <param name="Recipe">The recipe's name.</param>
/// <param name="Label">The width's name in sentences, such as <c>4 bits</c>.</param>
/// <param name="Method">How to get there; null where nothing measured is good enough.</param>
/// <param name="Run">The run to use; null when no road is good enough.</param>
/// <param name="Text">The reasons, in sentences.</param>
internal sealed record WidthAdvice(
    string Recipe, string Label, [property: JsonConverter(typeof(NeitherOrMethodConverter))] Method? Method, string? Run, string Text);

/// <summary>What the measurements say, in words.</summary>
/// <remarks>
/// A PTQ run is judged against the float model. A QAT run is judged against the float control where training alone improved that
/// one, so that more training is not mistaken for better quantization.
/// </remarks>
/// <param name="Headline">The conclusion in one sentence.</param>
/// <param name="Summary">The conclusion in a paragraph.</param>
/// <param name="Widths">What to do at each width, most bits first.</param>
internal sealed record Advice(string Headline, string Summary, IReadOnlyList<WidthAdvice> Widths)
{
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
        return new Advice(Headlined(advice), judge.Summarize(widths, advice), advice);
    }

    private static string Headlined(IEnumerable<WidthAdvice> advice)
    {
        var parts = advice.GroupBy(width => width.Method).OrderBy(group => group.Key is null).ThenBy(group => group.Key).Select(group =>
        {
            var labels = Enumerate([.. group.Select(width => width.Label)]);
            return group.Key switch
            {
                Method.Ptq => $"quantize after training (PTQ) at {labels}",
                Method.Qat => $"train with quantization (QAT) at {labels}",
                Method.Hybrid => $"take the hybrid of both at {labels}",
                _ => $"use neither at {labels}",
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
    /// <remarks>Whether a variant is usable is asked against the float model as it came; what quantization costs, against the control where that one is
    /// better.</remarks>
    private sealed class Judge(ComparisonResult result)
    {
        private const string WayOut = "use more bits or smaller groups, keep the layers with the largest errors at a higher width, or train longer.";

        private readonly QualityScale scale = result.Scale;
        private readonly ComparisonRun? control = result.Runs.FirstOrDefault(run => run.Method is null);

        /// <summary>What training alone gains over the float model; 0 where it gains nothing.</summary>
        private double TrainingGain => control is { } run && double.IsFinite(run.LossDifference) ? Math.Max(0, -run.LossDifference) : 0;

        private bool LearnsFromFloat => result.Qat?.Distillation is { Weight: 1 };

        /// <summary>Two standard errors of the difference between a variant and float, in points, from how often the two answer differently; null where answers
        /// are not counted.</summary>
        private double? Chance => scale.CountsAnswers && result.Runs.Where(run => run.Agreement is not null).ToList() is { Count: > 0 } counted
            ? 200 * Math.Sqrt((1 - counted.Average(run => run.Agreement!.Value)) / result.Evaluation.Count)
            : null;

        public WidthAdvice Advise(Width width) => (width.Hybrid, width.Ptq ?? width.Qat) switch
        {
            (null, _) => AdvisePure(width),
            ({ } hybrid, null) => JudgeAlone(width, hybrid, Method.Hybrid, "Neither PTQ nor QAT was run, so whether this width needs a hybrid is not known."),
            ({ } hybrid, _) => Weigh(width, AdvisePure(width), hybrid),
        };

        public string Summarize(IReadOnlyList<Width> widths, IReadOnlyList<WidthAdvice> advice)
        {
            var runs = widths.SelectMany(width => width.Runs).ToList();
            var chosen = runs.Where(run => advice.Any(width => width.Run == run.Name)).OrderBy(run => run.Bytes).ThenBy(Loss).ToList();
            var close = chosen.Find(run => Loss(run) <= scale.Small);
            List<string> sentences = [];
            sentences.Add(close is null
                ? $"No variant that is advised here stays within {scale.Threshold(scale.Small)} of the float model's {scale.Name} of "
                    + $"{scale.Value(result.Baseline.Quality)}."
                : $"The smallest of the advised variants within {scale.Threshold(scale.Small)} of {Reference(close)} is {Describe(close)}.");
            if (chosen.FirstOrDefault() is { } smallest && smallest != close)
            {
                sentences.Add($"The smallest that is still usable, losing at most {scale.Threshold(scale.Usable)}, is {Describe(smallest)}.");
            }

            if (runs.Exists(run => run.Method == Method.Qat))
            {
                sentences.Add(AboutControl(widths));
            }

            if (Chance is { } points)
            {
                sentences.Add($"On {Numbers.Count(result.Evaluation.Count)} {result.Evaluation.Unit}, differences of up to {scale.Threshold(points)} may be "
                    + $"chance.");
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
            ({ } ptq, null) => JudgeAlone(width, ptq, Method.Ptq, "QAT was not run, so what training could win back is not known."),
            (null, { } qat) => JudgeAlone(width, qat, Method.Qat, "PTQ was not run, so whether this width needs training is not known."),
            _ => throw new ArgumentException($"Width {width.Recipe} has no run.", nameof(width)),
        };

        private WidthAdvice Compare(Width width, ComparisonRun ptq, ComparisonRun qat)
        {
            if (Loss(ptq) <= scale.Small)
            {
                return Take(Method.Ptq, ptq,
                    $"{Result(ptq)}, within the {scale.Threshold(scale.Small)} that counts as small here. {Saving(ptq)} {AboutQat(ptq, qat)}");
            }

            if (!IsUsable(ptq) && !IsUsable(qat))
            {
                return Take(
                    null, null, $"{Result(ptq)}; {Result(qat)}{AgainstControl(qat)}. Both lose more than the {scale.Threshold(scale.Usable)} that "
                        + $"counts as usable here: {WayOut}");
            }

            if (Gain(ptq, qat) > scale.WorthTraining)
            {
                return Take(Method.Qat, qat, $"{Result(ptq)}; {Result(qat)}{AgainstControl(qat)}. {Saving(qat)} {Price(ptq, qat)}");
            }

            return IsUsable(ptq)
                ? Take(Method.Ptq, ptq, $"{Result(ptq)}. {Saving(ptq)} {AboutQat(ptq, qat)}")
                : Take(Method.Qat, qat, $"{Result(ptq)}; {Result(qat)}{AgainstControl(qat)}. {Saving(qat)} {Price(ptq, qat)} {AboutNarrowWin(ptq, qat)}");

            WidthAdvice Take(Method? method, ComparisonRun? run, string text) => new(width.Recipe, width.Label, method, run?.Name, text);
        }

        /// <summary>Takes the hybrid where it is worth its training against what the pure methods gave: better by enough, or close to QAT in half of its
        /// time.</summary>
        private WidthAdvice Weigh(Width width, WidthAdvice pure, ComparisonRun hybrid)
        {
            var chosen = width.Runs.FirstOrDefault(run => run.Name == pure.Run);
            var better = chosen is null
                ? IsUsable(hybrid)
                : Gain(chosen, hybrid) > scale.WorthTraining && !(pure.Method == Method.Ptq && Loss(chosen) <= scale.Small);
            var cheaper = pure.Method == Method.Qat && Gain(chosen!, hybrid) >= -scale.WorthTraining && IsUsable(hybrid)
                && hybrid.Seconds <= chosen!.Seconds / 2;
            var result = $"{Result(hybrid)}{AgainstControl(hybrid)} in {Numbers.Duration(hybrid.Seconds)}";
            return better || cheaper
                ? pure with
                {
                    Method = Method.Hybrid,
                    Run = hybrid.Name,
                    Text = better
                        ? $"{result}: better than PTQ and QAT alone. {pure.Text}"
                        : $"{result}: within {scale.Threshold(scale.WorthTraining)} of QAT in at most half of its time. {pure.Text}",
                }
                : pure with { Text = $"{pure.Text} {result}." };
        }

        private WidthAdvice JudgeAlone(Width width, ComparisonRun run, Method method, string caveat)
        {
            var start = $"{Result(run)}{AgainstControl(run)}";
            return !IsUsable(run)
                ? new WidthAdvice(width.Recipe, width.Label, null, null,
                    $"{start}: more than the {scale.Threshold(scale.Usable)} that counts as usable here. {caveat} Otherwise: {WayOut}")
                : new WidthAdvice(
                    width.Recipe, width.Label, method, run.Name,
                    $"{start}{(Loss(run) <= scale.Small ? $", within the {scale.Threshold(scale.Small)} that counts as small here" : string.Empty)}. "
                        + $"{Saving(run)} {caveat}");
        }

        /// <summary>What quantization costs a run, with the gain of training alone taken out; infinite where it was not measured.</summary>
        private double Loss(ComparisonRun run) =>
            !double.IsFinite(run.LossDifference) ? double.PositiveInfinity : run.LossDifference + (IsTrained(run) ? TrainingGain : 0);

        /// <summary>How much less quantization costs one run than another; NaN where neither was measured.</summary>
        private double Gain(ComparisonRun from, ComparisonRun to) => Loss(from) - Loss(to);

        private bool IsUsable(ComparisonRun run) => double.IsFinite(run.LossDifference) && run.LossDifference <= scale.Usable;

        private static bool IsTrained(ComparisonRun run) => run.Method is Method.Qat or Method.Hybrid;

        private string Reference(ComparisonRun run) => IsTrained(run) && TrainingGain > 0 ? "the float control" : "the float model";

        private static string Subject(ComparisonRun run) =>
            run.Method switch { Method.Qat => "QAT", Method.Hybrid => $"The hybrid ({run.Name})", _ => "PTQ" };

        private string Result(ComparisonRun run) => double.IsFinite(run.LossDifference)
            ? $"{Subject(run)} gives {scale.Name} {scale.Value(run.Quality)} against {scale.Value(result.Baseline.Quality)} for float "
                + $"({scale.Change(run.LossDifference)})"
            : $"{Subject(run)} gives no finite {scale.Name}";

        private string AgainstControl(ComparisonRun run) =>
            IsTrained(run) && TrainingGain > 0 && double.IsFinite(run.LossDifference) ? $", {scale.Change(Loss(run))} against the float control" : "";

        private string Saving(ComparisonRun run) =>
            $"The model goes from {Numbers.Bytes(result.Baseline.Bytes)} to {Numbers.Bytes(run.Bytes)} "
                + $"({Numbers.SizeChange(result.Baseline.Bytes, run.Bytes)}) in {Numbers.Duration(run.Seconds)}.";

        private string Describe(ComparisonRun run) =>
            $"{run.Name}: {scale.Name} {scale.Value(run.Quality)} ({scale.Change(run.LossDifference)} against float), {Numbers.Bytes(run.Bytes)} instead of "
                + $"{Numbers.Bytes(result.Baseline.Bytes)}, made in {Numbers.Duration(run.Seconds)}";

        private static string Price(ComparisonRun ptq, ComparisonRun qat) => ptq.Seconds > 0 && double.IsFinite(qat.Seconds)
            ? $"That is {Numbers.Ratio(qat.Seconds / ptq.Seconds)} as long as PTQ's "
                + $"{Numbers.Duration(ptq.Seconds)}{(qat.Bytes == ptq.Bytes ? ", for a model of the same size" : string.Empty)}."
            : "";

        /// <summary>Why QAT is taken where only it is usable, although quantization costs PTQ hardly more.</summary>
        private string AboutNarrowWin(ComparisonRun ptq, ComparisonRun qat) => TrainingGain > Gain(ptq, qat)
            ? $"Most of what it wins over PTQ is training: the float control reaches {scale.Value(control!.Quality)}, so a float model that is trained on this "
                + $"text first and then quantized by PTQ may do as well."
            : $"The two are close: PTQ is just beyond the {scale.Threshold(scale.Usable)} that counts as usable here, QAT just within.";

        /// <summary>What QAT gave where PTQ is taken.</summary>
        private string AboutQat(ComparisonRun ptq, ComparisonRun qat)
        {
            if (!double.IsFinite(qat.LossDifference))
            {
                return $"QAT gives no finite {scale.Name}: its training diverged.";
            }

            var faster = qat.Seconds < ptq.Seconds;
            var reached = ptq.Seconds > 0 ? $"For {Numbers.Ratio(qat.Seconds / ptq.Seconds)} the time QAT reaches {scale.Value(qat.Quality)}"
                : $"After {Numbers.Duration(qat.Seconds)} QAT reaches {scale.Value(qat.Quality)}";
            var (gain, plain) = (Gain(ptq, qat), ptq.LossDifference - qat.LossDifference);
            var (worth, enough) = (scale.Threshold(scale.WorthTraining), scale.WorthTraining);
            return (gain, plain) switch
            {
                _ when gain > enough && control is null && LearnsFromFloat => $"{reached}, which beats PTQ: take it where every bit of quality counts.",
                _ when gain > enough && control is null =>
                    $"{reached}, which beats PTQ: take it where every bit of quality counts. Without a float control it is not known how much of that is plain "
                    + $"further training.",
                _ when gain > enough => $"{reached}, which beats PTQ by more than training alone explains: take it where every bit of quality counts.",
                _ when plain > enough =>
                    $"{reached}, but the float control, trained as long without quantization, reaches {scale.Value(control!.Quality)}: that gain is training, "
                        + $"not better quantization.",
                _ when gain < -enough && plain > 0 =>
                    $"{reached}, better than PTQ, but by less than the float control gains: part of the training went into making up for the quantization.",
                _ when gain < -enough =>
                    $"{reached}, worse than PTQ{(plain < -enough ? string.Empty : " once the gain of training alone is taken out")}: its training settings do "
                    + $"not seem to suit this model.",
                _ when faster => $"{reached}, within {worth} of PTQ: either will do here.",
                _ => $"{reached}, within {worth} of PTQ, which is not worth it here.",
            };
        }

        private string AboutControl(IReadOnlyList<Width> widths)
        {
            List<string> won = [.. widths.Where(width => width is { Ptq: { } ptq, Qat: { } qat } && qat.LossDifference < ptq.LossDifference)
                .Select(width => width.Label)];
            if (control is null && LearnsFromFloat)
            {
                return "QAT learned from the float model alone, without labels, so what it wins over PTQ is no further training.";
            }

            if (control is null)
            {
                return won.Count > 0
                    ? "There is no float control, so part of what QAT wins may be plain further training."
                    : "There is no float control, so what further training alone would change is not known.";
            }

            var steps = result.Qat is { } qat ? $"the same {Numbers.Count(qat.Steps)} steps" : "as long";
            var trained = $"The float control, trained for {steps} without quantization, ";
            return control.LossDifference switch
            {
                var loss when !double.IsFinite(loss) =>
                    $"{trained}gives no finite {scale.Name}, so QAT is judged against the original: lower the learning rate.",
                < 0 and var loss => $"{trained}goes from {scale.Name} {scale.Value(result.Baseline.Quality)} to {scale.Value(control.Quality)} "
                    + $"({scale.Change(loss)}); QAT is therefore judged against the control, so that more training is not mistaken for better quantization.",
                var loss when won.Count > 0 =>
                    $"{trained}does not improve on the original ({scale.Change(loss)}), so what QAT wins over PTQ at {Enumerate(won)} comes from training with "
                    + $"quantization, not from more training.",
                var loss => $"{trained}does not improve on the original ({scale.Change(loss)}).",
            };
        }
    }
}
