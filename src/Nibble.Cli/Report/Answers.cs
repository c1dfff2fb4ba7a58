using Nibble.Recipes;

namespace Nibble.Cli.Report;

/// <summary>The answer to a question that a comparison is run for.</summary>
/// <param name="Question">The question.</param>
/// <param name="Text">The answer, from the measurements.</param>
internal sealed record Answer(string Question, string Text);

/// <summary>The three questions about PTQ and QAT, answered by a comparison: what is lost at each width, what each method costs, and what to choose.</summary>
internal static class Answers
{
    /// <summary>Answers the questions.</summary>
    /// <param name="result">The comparison.</param>
    /// <param name="widths">Its widths, most bits first; at least one.</param>
    /// <param name="advice">The advice for each width, in the same order.</param>
    /// <param name="headline">What to choose, in one sentence.</param>
    public static IReadOnlyList<Answer> Of(ComparisonResult result, IReadOnlyList<Width> widths, IReadOnlyList<WidthAdvice> advice, string headline) =>
    [
        new("What is lost?", Lost(result, widths)),
        new("What does it cost?", Cost(result)),
        new("What to choose?", string.Join(' ', [headline, .. widths.Zip(advice).Select(pair => Recovered(pair.First, pair.Second)).OfType<string>()])),
    ];

    private static string Lost(ComparisonResult result, IReadOnlyList<Width> widths)
    {
        var scale = result.Scale;
        var parts = widths.Select(width => $"{width.Label}: {string.Join(", ", width.Runs.Select(run => $"{Short(run)} {Change(run)}"))}");
        return $"Change of {scale.Name}, {scale.Value(result.Baseline.Quality)} in float. {string.Join("; ", parts)}.";

        string Change(ComparisonRun run) => double.IsFinite(run.LossDifference) ? scale.Change(run.LossDifference) : $"no finite {scale.Name}";
    }

    private static string Cost(ComparisonResult result)
    {
        var quantized = result.Runs.Where(run => run.Method is not null).ToList();
        var times = quantized.GroupBy(run => run.Method).OrderBy(group => group.Key)
            .Select(group => $"{MethodNames.Title(group.Key)} {Range([.. group.Select(run => run.Seconds)])}");
        var sizes = quantized.Select(run => run.Bytes).Distinct().OrderDescending().Select(Numbers.Bytes).Distinct();
        return $"Time for each width: {string.Join(", ", times)}. Size: {Numbers.Bytes(result.Baseline.Bytes)} in float, then {string.Join(", ", sizes)}.";
    }

    private static string Range(List<double> seconds)
    {
        var (shortest, longest) = (Numbers.Duration(seconds.Min()), Numbers.Duration(seconds.Max()));
        return shortest == longest ? shortest : $"{shortest} to {longest}";
    }

    /// <summary>The part of PTQ's loss that training removes, where training is the advice.</summary>
    private static string? Recovered(Width width, WidthAdvice advice) =>
        advice.Method == Method.Qat && width is { Ptq: { LossDifference: > 0 } ptq, Qat: { } qat } && double.IsFinite(ptq.LossDifference)
            && qat.LossDifference < ptq.LossDifference
            ? $"At {width.Label}, QAT removes {Numbers.Share(Math.Min(1, (ptq.LossDifference - qat.LossDifference) / ptq.LossDifference))} of PTQ's loss."
            : null;

    private static string Short(ComparisonRun run) => run.Method == Method.Hybrid ? run.Name : MethodNames.Title(run.Method);
}
