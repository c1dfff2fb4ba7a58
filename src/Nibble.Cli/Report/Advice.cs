using Nibble.Planning;

namespace Nibble.Cli.Report;

/// <summary>What the measurements say about one width.</summary>
/// <param name="Recipe">The recipe's name.</param>
/// <param name="Label">The width's name in sentences, such as <c>4 bits</c>.</param>
/// <param name="Road">The road to take.</param>
/// <param name="Run">The run to use; null when no road is good enough.</param>
/// <param name="Text">The reasons, in sentences.</param>
internal sealed record WidthAdvice(string Recipe, string Label, Road Road, string? Run, string Text);

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
        if (!double.IsFinite(result.Baseline.Perplexity))
        {
            return new Advice("The float model gives no finite perplexity, so nothing can be compared with it.", "Check the checkpoint and the evaluation text first.", []);
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
        var parts = advice.GroupBy(width => width.Road).OrderBy(group => group.Key).Select(group =>
        {
            var labels = Enumerate([.. group.Select(width => width.Label)]);
            return group.Key switch
            {
                Road.Ptq => $"quantize after training (PTQ) at {labels}",
                Road.Qat => $"train with quantization (QAT) at {labels}",
                Road.Hybrid => $"take the hybrid of both at {labels}",
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
    private sealed class Judge(ComparisonResult result)
    {
        private readonly ComparisonRun? control = result.Runs.FirstOrDefault(run => run.Method == RunMethod.Float);

        /// <summary>What training alone gains over the float model, in nats; 0 where it gains nothing.</summary>
        private double TrainingGain => control is { } run && double.IsFinite(run.LossDifference) ? Math.Max(0, -run.LossDifference) : 0;

        public WidthAdvice Advise(Width width) => (width.Hybrid, width.Ptq ?? width.Qat) switch
        {
            (null, _) => AdvisePure(width),
            ({ } hybrid, null) => JudgeAlone(width, hybrid, Road.Hybrid, "Neither PTQ nor QAT was run, so whether this width needs a hybrid is not known."),
            ({ } hybrid, _) => Weigh(width, AdvisePure(width), hybrid),
        };

        private WidthAdvice AdvisePure(Width width) => (width.Ptq, width.Qat) switch
        {
            ({ } ptq, { } qat) => Compare(width, ptq, qat),
            ({ } ptq, null) => JudgeAlone(width, ptq, Road.Ptq, "QAT was not run, so what training could win back is not known."),
            (null, { } qat) => JudgeAlone(width, qat, Road.Qat, "PTQ was not run, so whether this width needs training is not known."),
            _ => throw new ArgumentException($"Width {width.Recipe} has no run.", nameof(width)),
        };

        public string Summarize(IReadOnlyList<Width> widths, IReadOnlyList<WidthAdvice> advice)
        {
            var runs = widths.SelectMany(width => width.Runs).ToList();
            var chosen = runs.Where(run => advice.Any(width => width.Run == run.Name)).OrderBy(run => run.Bytes).ThenBy(Loss).ToList();
            var close = chosen.Find(run => Loss(run) <= Thresholds.SmallLoss);
            List<string> sentences = [];
            sentences.Add(close is null
                ? $"No variant that is advised here stays within {Numbers.Threshold(Thresholds.SmallLoss)} of the float model's perplexity of {Numbers.Perplexity(result.Baseline.Perplexity)}."
                : $"The smallest variant within {Numbers.Threshold(Thresholds.SmallLoss)} of {Reference(close)} is {Describe(close)}.");
            if (chosen.FirstOrDefault() is { } smallest && smallest != close)
            {
                sentences.Add($"The smallest that is still usable, losing less than {Numbers.Threshold(Thresholds.UsableLoss)}, is {Describe(smallest)}.");
            }

            if (runs.Exists(run => run.Method == RunMethod.Qat))
            {
                sentences.Add(AboutControl());
            }

            var slowdowns = widths.Where(width => width is { Ptq.Seconds: > 0, Qat: not null }).Select(width => width.Qat!.Seconds / width.Ptq!.Seconds).Order().ToList();
            if (slowdowns.Count > 0)
            {
                sentences.Add($"QAT took {Numbers.Ratio(slowdowns[slowdowns.Count / 2])} as long as PTQ on this machine.");
            }

            return string.Join(' ', sentences);
        }

        private WidthAdvice Compare(Width width, ComparisonRun ptq, ComparisonRun qat)
        {
            var gain = Loss(ptq) - Loss(qat);
            if (Loss(ptq) <= Thresholds.SmallLoss)
            {
                return new WidthAdvice(
                    width.Recipe, width.Label, Road.Ptq, ptq.Name, $"{Result(ptq)}, within the {Numbers.Threshold(Thresholds.SmallLoss)} that counts as small here. {Saving(ptq)} {AboutQat(ptq, qat, gain)}");
            }

            if (Math.Min(Loss(ptq), Loss(qat)) > Thresholds.UsableLoss)
            {
                return new WidthAdvice(
                    width.Recipe, width.Label, Road.Neither, null, $"{Result(ptq)}; {Result(qat)}{AgainstControl(qat)}. Both lose more than the {Numbers.Threshold(Thresholds.UsableLoss)} that counts as usable here: {WayOut}");
            }

            return gain > Thresholds.WorthTraining
                ? new WidthAdvice(
                    width.Recipe, width.Label, Road.Qat, qat.Name, $"{Result(ptq)}; {Result(qat)}{AgainstControl(qat)}. {Saving(qat)} {Price(ptq, qat)}")
                : new WidthAdvice(
                    width.Recipe, width.Label, Road.Ptq, ptq.Name, $"{Result(ptq)}. {Saving(ptq)} {AboutQat(ptq, qat, gain)}");
        }

        /// <summary>Takes the hybrid where it is worth its training against what the pure roads gave: better by enough, or as good as QAT in half of its time.</summary>
        private WidthAdvice Weigh(Width width, WidthAdvice pure, ComparisonRun hybrid)
        {
            var chosen = width.Runs.FirstOrDefault(run => run.Name == pure.Run);
            var gain = chosen is null ? Thresholds.UsableLoss - Loss(hybrid) : Loss(chosen) - Loss(hybrid);
            var better = chosen is null ? gain >= 0 : gain > Thresholds.WorthTraining && !(pure.Road == Road.Ptq && Loss(chosen) <= Thresholds.SmallLoss);
            var cheaper = pure.Road == Road.Qat && gain >= -Thresholds.WorthTraining && hybrid.Seconds <= chosen!.Seconds / 2;
            var result = $"{Result(hybrid)}{AgainstControl(hybrid)} in {Numbers.Duration(hybrid.Seconds)}";
            return better || cheaper
                ? pure with { Road = Road.Hybrid, Run = hybrid.Name, Text = $"{result}: {(better ? "better than what the pure roads give" : "as good as QAT in at most half of its time")}. {pure.Text}" }
                : pure with { Text = $"{pure.Text} {result}." };
        }

        private WidthAdvice JudgeAlone(Width width, ComparisonRun run, Road road, string caveat) => Loss(run) switch
        {
            var loss when loss <= Thresholds.SmallLoss =>
                new WidthAdvice(width.Recipe, width.Label, road, run.Name, $"{Result(run)}{AgainstControl(run)}, within the {Numbers.Threshold(Thresholds.SmallLoss)} that counts as small here. {Saving(run)} {caveat}"),
            var loss when loss <= Thresholds.UsableLoss =>
                new WidthAdvice(width.Recipe, width.Label, road, run.Name, $"{Result(run)}{AgainstControl(run)}. {Saving(run)} {caveat}"),
            _ => new WidthAdvice(
                width.Recipe, width.Label, Road.Neither, null, $"{Result(run)}{AgainstControl(run)}: more than the {Numbers.Threshold(Thresholds.UsableLoss)} that counts as usable here. {caveat} Otherwise: {WayOut}"),
        };

        /// <summary>What quantization costs a run, in nats, with the gain of training alone taken out; infinite where it was not measured.</summary>
        private double Loss(ComparisonRun run) =>
            !double.IsFinite(run.LossDifference) ? double.PositiveInfinity : run.LossDifference + (IsTrained(run) ? TrainingGain : 0);

        private static bool IsTrained(ComparisonRun run) => run.Method is RunMethod.Qat or RunMethod.Hybrid;

        private string Reference(ComparisonRun run) => IsTrained(run) && TrainingGain > 0 ? "the float control" : "the float model";

        private static string WayOut =>
            "use more bits or smaller groups, keep the layers with the largest errors at a higher width, or train longer.";

        private static string Method(ComparisonRun run) => run.Method switch { RunMethod.Qat => "QAT", RunMethod.Hybrid => $"The hybrid ({run.Name})", _ => "PTQ" };

        private string Result(ComparisonRun run) => double.IsFinite(run.LossDifference)
            ? $"{Method(run)} gives perplexity {Numbers.Perplexity(run.Perplexity)} against {Numbers.Perplexity(result.Baseline.Perplexity)} for float ({Numbers.Change(run.LossDifference)})"
            : $"{Method(run)} gives no finite perplexity";

        private string AgainstControl(ComparisonRun run) =>
            IsTrained(run) && TrainingGain > 0 && double.IsFinite(run.LossDifference) ? $", {Numbers.Change(Loss(run))} against the float control" : "";

        private string Saving(ComparisonRun run) =>
            $"The model goes from {Numbers.Bytes(result.Baseline.Bytes)} to {Numbers.Bytes(run.Bytes)} ({Numbers.Ratio((double)result.Baseline.Bytes / run.Bytes)} smaller) in {Numbers.Duration(run.Seconds)}.";

        private string Describe(ComparisonRun run) =>
            $"{run.Name}: perplexity {Numbers.Perplexity(run.Perplexity)} ({Numbers.Change(run.LossDifference)} against float), {Numbers.Bytes(run.Bytes)} instead of {Numbers.Bytes(result.Baseline.Bytes)}, made in {Numbers.Duration(run.Seconds)}";

        private static string Price(ComparisonRun ptq, ComparisonRun qat) => ptq.Seconds > 0 && double.IsFinite(qat.Seconds)
            ? $"That is {Numbers.Ratio(qat.Seconds / ptq.Seconds)} as long as PTQ's {Numbers.Duration(ptq.Seconds)}, for a model of {(qat.Bytes == ptq.Bytes ? "the same" : "about the same")} size."
            : "";

        private string AboutQat(ComparisonRun ptq, ComparisonRun qat, double gain)
        {
            if (!double.IsFinite(qat.LossDifference))
            {
                return "QAT gives no finite perplexity: its training diverged.";
            }

            var cost = ptq.Seconds > 0 ? $"for {Numbers.Ratio(qat.Seconds / ptq.Seconds)} the time" : $"after {Numbers.Duration(qat.Seconds)}";
            var reached = $"{cost} QAT reaches {Numbers.Perplexity(qat.Perplexity)}";
            reached = char.ToUpperInvariant(reached[0]) + reached[1..];
            if (gain > Thresholds.WorthTraining)
            {
                return $"{reached}, which beats PTQ by more than training alone explains: take it where every bit of quality counts.";
            }

            if (qat.LossDifference < ptq.LossDifference - Thresholds.WorthTraining)
            {
                return $"{reached}, but the float control, trained as long without quantization, reaches {Numbers.Perplexity(control!.Perplexity)}: that gain is training, not better quantization.";
            }

            return gain < -Thresholds.WorthTraining
                ? $"{reached}, worse than PTQ{(TrainingGain > 0 ? " once the gain of training alone is taken out" : "")}: its training settings do not suit this model."
                : $"{reached}, which is not worth it here.";
        }

        private string AboutControl()
        {
            if (control is null)
            {
                return "There is no float control, so part of what QAT wins may be plain further training.";
            }

            var steps = result.Qat is { } qat ? $"the same {Numbers.Count(qat.Steps)} steps" : "as long";
            var trained = $"The float control, trained for {steps} without quantization, ";
            return control.LossDifference switch
            {
                var loss when !double.IsFinite(loss) => $"{trained}gives no finite perplexity, so QAT is judged against the original: lower the learning rate.",
                < 0 and var loss => $"{trained}goes from perplexity {Numbers.Perplexity(result.Baseline.Perplexity)} to {Numbers.Perplexity(control.Perplexity)} ({Numbers.Change(loss)}); QAT is therefore judged against the control, so that more training is not mistaken for better quantization.",
                var loss => $"{trained}does not improve on the original ({Numbers.Change(loss)}), so what QAT wins over PTQ comes from training with quantization, not from more training.",
            };
        }
    }
}
