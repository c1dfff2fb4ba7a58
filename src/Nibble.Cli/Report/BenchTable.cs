using System.Globalization;
using Nibble.Cli.Engines;
using Nibble.Cli.Rendering;

namespace Nibble.Cli.Report;

/// <summary>What a bench measured, in words, for the terminal and for the report.</summary>
internal static class BenchTable
{
    /// <summary>A row for each measured thing: what it is, what the file gives and, where there is one, what the other gives and how they compare.</summary>
    public static IReadOnlyList<IReadOnlyList<string>> Rows(BenchDocument document)
    {
        var (file, against, speedup) = (document.File, document.Against, document.Speedup);
        return
        [
            Row("size", value => Numbers.Bytes(value.Bytes), value => value.Bytes),
            Row("load", value => Range(value.LoadSeconds, Numbers.Duration), value => value.LoadSeconds.Median),
            Row("peak memory", value => Range(value.PeakBytes, Bytes), value => value.PeakBytes.Median),
            Row("before loading", value => Range(value.StartBytes, Bytes), null),
            Row("prompt", value => Range(value.PromptTokensPerSecond, Rate, " tokens/s"), null, speedup?.Prompt),
            Row("generation", value => Range(value.GeneratedTokensPerSecond, Rate, " tokens/s"), null, speedup?.Generation),
        ];

        IReadOnlyList<string> Row(string name, Func<BenchedFile, string> text, Func<BenchedFile, double>? amount, Spread? times = null) => against is null
            ? [name, text(file)]
            : [name, text(file), text(against), times is { } ratio ? Verdict(ratio) : amount is null ? string.Empty : $"{Times(amount(file) / amount(against))} times float"];
    }

    /// <summary>What was run, in a sentence.</summary>
    public static string Setting(BenchDocument document) => string.Create(
        CultureInfo.InvariantCulture,
        $"{document.File.Engine}{(document.Against is { } other && other.Engine != document.File.Engine ? $" and {other.Engine}" : string.Empty)}, {document.Threads} {(document.Threads == 1 ? "thread" : "threads")}, a prompt of {document.PromptTokens} tokens and {document.GeneratedTokens} behind it; {(document.Repeats == 1 ? "one run" : $"the median of {document.Repeats} runs (quartiles)")}");

    /// <summary>A ratio of speeds with what it says; where the quartiles of pairs of runs lie on both sides of 1, it says nothing.</summary>
    public static string Verdict(Spread times) => string.Create(
        CultureInfo.InvariantCulture,
        $"{Times(times.Median)} times float ({Times(times.Low)} to {Times(times.High)}): {(times.High < 1 ? "slower" : times.Low > 1 ? "faster" : "no difference beyond the spread")}");

    private static string Range(Spread value, Func<double, string> text, string unit = "") =>
        text(value.Median) + unit + (text(value.Low) == text(value.High) ? string.Empty : $" ({text(value.Low)} to {text(value.High)})");

    private static string Bytes(double value) => Numbers.Bytes((long)value);

    private static string Rate(double value) => value.ToString(value < 10 ? "0.00" : value < 100 ? "0.0" : "#,0", CultureInfo.InvariantCulture);

    private static string Times(double value) => value.ToString(value < 10 ? "0.00" : "0.0", CultureInfo.InvariantCulture);
}
