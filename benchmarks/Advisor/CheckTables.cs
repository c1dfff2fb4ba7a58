using Nibble.Files;
using System.Globalization;
using System.Text;

namespace Nibble.Benchmarks.Advisor;

/// <summary>The tables of predictions and of situations, as Markdown.</summary>
internal static class CheckTables
{
    public static void Write(string path, IReadOnlyList<Answer> answers, double seconds, double near)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture,
            $"# What the advisor predicts and chooses\n\nWritten by `benchmarks/advisor.sh`. Each probe took at most {seconds:0} processor seconds. Training "
            + $"is 200 steps of 4 x {BenchModel.Length} tokens.\n\n");
        Pairs(text, answers);
        Situations(text, answers, near);
        AtomicFile.Write(path, stream => stream.Write(Encoding.UTF8.GetBytes(text.ToString())));
    }

    /// <summary>Every option that was allowed, once for each model, as it was predicted the first time.</summary>
    private static void Pairs(StringBuilder text, IReadOnlyList<Answer> answers)
    {
        var pairs = answers.SelectMany(
            answer => answer.Options.Where(pair => answer.Result.Decision.Ranked.Contains(pair.Option))).GroupBy(
            pair => (pair.Model, pair.Option.Name)).Select(group => group.First()).OrderBy(pair => pair.Model, StringComparer.Ordinal)
            .ThenBy(pair => pair.Option.Bits).ThenBy(pair => pair.Option.Name, StringComparer.Ordinal).ToList();
        text.Append("## Predicted and measured\n\nLosses are nats per token over the float model.\n\n"
            + "| model | option | evidence | predicted | interval | measured | inside | predicted s | measured s |\n"
            + "|---|---|---|---:|---:|---:|---|---:|---:|\n");
        foreach (var pair in pairs)
        {
            var option = pair.Option;
            text.Append(CultureInfo.InvariantCulture,
                $"| {pair.Model} | {option.Name} | {option.Evidence.ToString().ToLowerInvariant()} | {option.Loss.Value:F4} | {option.Loss.Low:F4} to "
                + $"{option.Loss.High:F4} | {pair.Loss:F4} | {(option.Loss.Holds(pair.Loss) ? "yes" : "no")} | {option.Seconds:F1} | {pair.Seconds:F1} |\n");
        }

        foreach (var evidence in pairs.GroupBy(pair => pair.Option.Evidence))
        {
            var errors = evidence.Select(pair => Math.Abs(pair.Option.Loss.Value - pair.Loss)).Order().ToList();
            var times = evidence.Select(pair => Math.Exp(Math.Abs(Math.Log(pair.Option.Seconds / pair.Seconds))) - 1).Order().ToList();
            text.Append(CultureInfo.InvariantCulture,
                $"\n{evidence.Key}: {errors.Count} pairs. Error of the loss: median {errors[errors.Count / 2]:F4}, mean {errors.Average():F4}, largest "
                + $"{errors[^1]:F4} nats. Inside the interval: {evidence.Count(pair => pair.Option.Loss.Holds(pair.Loss))}. Error of the time: median "
                + $"{times[times.Count / 2]:P0}.\n");
        }
    }

    private static void Situations(StringBuilder text, IReadOnlyList<Answer> answers, double near)
    {
        text.Append("\n## Situations\n\n| situation | first choice | its loss | true best | its loss | more | good | more, over the control "
            + "|\n|---|---|---:|---|---:|---:|---|---:|\n");
        foreach (var answer in answers)
        {
            text.Append(CultureInfo.InvariantCulture,
                $"| {answer.Situation.Name} | {answer.Chosen?.Option.Name} | {answer.ChosenLoss:F4} | {answer.Best?.Option.Name} | {answer.BestLoss:F4} | "
                + $"{answer.Excess:P2} | {(answer.Excess <= near ? "yes" : "no")} | {answer.JudgedExcess:F4} |\n");
        }

        text.Append(CultureInfo.InvariantCulture,
            $"\nThe first choice was the true best or within {near:P0} of its loss in {answers.Count(answer => answer.Excess <= near)} of "
            + $"{answers.Count} situations. The last column, in nats, leaves out what training gains in float. There the first choice was within {near} nats "
            + $"of the best in {answers.Count(answer => answer.JudgedExcess <= near)}.\n");
    }
}
