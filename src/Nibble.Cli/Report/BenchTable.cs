using Nibble.Cli.Report.Documents;
using System.Globalization;
using Nibble.Cli.Engines;

namespace Nibble.Cli.Report;

/// <summary>The results of <c>bench</c> as text, for the terminal and the report.</summary>
/// <param name="Name">The file's name.</param>
/// <param name="Against">The name of the file it is compared with; null for none.</param>
/// <param name="Setting">The settings of the run, in a sentence.</param>
/// <param name="Rows">
/// A row per measurement: its name and the file's value. With a comparison, also the other file's value and the ratio.
/// </param>
/// <param name="Headline">The main result.</param>
/// <param name="Note">How it was measured.</param>
internal sealed record BenchTable(string Name, string? Against, string Setting, IReadOnlyList<IReadOnlyList<string>> Rows, string Headline, string Note)
{
    private const string AboutMemory = "Peak memory is that of a process that does nothing else. Memory before loading is that of the .NET runtime.";

    /// <summary>Headings of the rows.</summary>
    public IReadOnlyList<string> Headings => Against is { } against ? [string.Empty, Name, against, "compared"] : [string.Empty, Name];

    /// <summary>The results of a decoder.</summary>
    public static BenchTable Of(BenchDocument document)
    {
        var (file, against, speedup) = (document.File, document.Against, document.Speedup);
        List<IReadOnlyList<string>> rows =
        [
            .. Amounts(Figures(file), against is null ? null : Figures(against)),
            Row("prompt", file, against, value => Range(value.PromptTokensPerSecond, Rate, " tokens/s"), speedup?.Prompt),
            Row("generation", file, against, value => Range(value.GeneratedTokensPerSecond, Rate, " tokens/s"), speedup?.Generation),
        ];
        return new BenchTable(
            file.Name, against?.Name,
            string.Create(
                CultureInfo.InvariantCulture,
                $"{Engines(file.Engine, against?.Engine)}, {Threads(document.Threads)}, "
                    + $"a prompt of {document.PromptTokens} tokens and {document.GeneratedTokens} generated tokens; {Runs(document.Repeats)}"),
            rows,
            $"Generation: {(speedup is null ? rows[^1][1] : Verdict(speedup.Generation))}",
            $"{AboutMemory} The prompt is computed in one batch, generated tokens one at a time.");

        static Measured Figures(BenchedFile file) => new(file.Bytes, file.LoadSeconds, file.PeakBytes, file.StartBytes);
    }

    /// <summary>The results of an encoder.</summary>
    public static BenchTable Of(BenchEncoderDocument document)
    {
        var (file, against, speedup) = (document.File, document.Against, document.Speedup);
        var batch = string.Create(CultureInfo.InvariantCulture, $"batches of {document.Batch}");
        List<IReadOnlyList<string>> rows =
        [
            .. Amounts(Figures(file), against is null ? null : Figures(against)),
            Row("latency, one text", file, against, value => Range(value.Single.Seconds, Latency)),
            Row("latency, a batch", file, against, value => Range(value.Batched.Seconds, Latency)),
            Row("one text at a time", file, against, value => Range(value.Single.TextsPerSecond, Rate, " texts/s"), speedup?.Single),
            Row(batch, file, against, value => Range(value.Batched.TextsPerSecond, Rate, " texts/s"), speedup?.Batched),
        ];
        return new BenchTable(
            file.Name, against?.Name,
            string.Create(
                CultureInfo.InvariantCulture,
                $"{Engines(file.Engine, against?.Engine)}, {Threads(document.Threads)}, "
                    + $"texts of {document.Tokens} tokens, one at a time and in {batch}; {Runs(document.Repeats)}"),
            rows,
            speedup is null ? $"Texts: {rows[^2][1]} one at a time, {rows[^1][1]} in {batch}" : $"One text at a time: {Verdict(speedup.Single)}",
            $"{AboutMemory} Latency is the time until all texts of a batch are computed, without tokenizing.");

        static Measured Figures(BenchedEncoder file) => new(file.Bytes, file.LoadSeconds, file.PeakBytes, file.StartBytes);
    }

    /// <summary>The results of an ONNX file of any model.</summary>
    public static BenchTable Of(BenchOnnxDocument document)
    {
        var (file, against) = (document.File, document.Against);
        var first = document.Timings[0];
        var runs = document.Timings.Min(entry => entry.Runs);
        List<IReadOnlyList<string>> rows =
        [
            ["size", Numbers.Bytes(file.Bytes), Numbers.Bytes(against.Bytes), $"{Times((double)file.Bytes / against.Bytes)} times float"],
            .. document.Timings.Select(entry => (IReadOnlyList<string>)[
                $"one run, {Threads(entry.Threads)}", Latency(entry.Seconds), Latency(entry.AgainstSeconds), OnnxQuantizeText.Speed(entry.Speedup)]),
        ];
        return new BenchTable(
            file.Name, against.Name,
            string.Create(
                CultureInfo.InvariantCulture,
                $"{Engines(file.Engine, against.Engine)}, {document.Data}, computed one sample at a time; medians of at least {runs} runs of each file, in "
                    + $"turns"),
            rows,
            $"One run, {Threads(first.Threads)}: {OnnxQuantizeText.Speed(first.Speedup)}",
            "Both files run in one process and take turns, so that both meet the same machine.");
    }

    /// <summary>A ratio of speeds with its meaning. If its quartiles lie on both sides of 1, there is no clear difference.</summary>
    public static string Verdict(Spread times) => string.Create(
        CultureInfo.InvariantCulture,
        $"{Times(times.Median)} times float ({Times(times.Low)} to {Times(times.High)}): "
            + $"{(times.High < 1 ? "slower" : times.Low > 1 ? "faster" : "no difference beyond the spread")}");

    private static IEnumerable<IReadOnlyList<string>> Amounts(Measured file, Measured? against)
    {
        yield return Amount("size", value => Numbers.Bytes(value.Bytes), value => value.Bytes);
        yield return Amount("load", value => Range(value.LoadSeconds, Numbers.Duration), value => value.LoadSeconds.Median);
        yield return Amount("peak memory", value => Range(value.PeakBytes, Bytes), value => value.PeakBytes.Median);
        yield return Row("before loading", file, against, value => Range(value.StartBytes, Bytes));

        IReadOnlyList<string> Amount(string name, Func<Measured, string> text, Func<Measured, double> amount) =>
            against is null ? [name, text(file)] : [name, text(file), text(against), $"{Times(amount(file) / amount(against))} times float"];
    }

    private static IReadOnlyList<string> Row<T>(string name, T file, T? against, Func<T, string> text, Spread? times = null)
        where T : class => against is null ? [name, text(file)] : [name, text(file), text(against), times is { } ratio ? Verdict(ratio) : string.Empty];

    private static string Engines(string engine, string? other) => other is not null && other != engine ? $"{engine} and {other}" : engine;

    private static string Threads(int threads) => string.Create(CultureInfo.InvariantCulture, $"{threads} {(threads == 1 ? "thread" : "threads")}");

    private static string Runs(int repeats) =>
        repeats == 1 ? "one run" : string.Create(CultureInfo.InvariantCulture, $"the median of {repeats} runs (quartiles)");

    private static string Range(Spread value, Func<double, string> text, string unit = "") =>
        text(value.Median) + unit + (text(value.Low) == text(value.High) ? string.Empty : $" ({text(value.Low)} to {text(value.High)})");

    private static string Latency(double seconds) =>
        (seconds * 1e3).ToString(seconds < 0.01 ? "0.00" : seconds < 0.1 ? "0.0" : "#,0", CultureInfo.InvariantCulture) + " ms";

    private static string Bytes(double value) => Numbers.Bytes((long)value);

    private static string Rate(double value) => value.ToString(value < 10 ? "0.00" : value < 100 ? "0.0" : "#,0", CultureInfo.InvariantCulture);

    private static string Times(double value) => value.ToString(value < 10 ? "0.00" : "0.0", CultureInfo.InvariantCulture);

    /// <summary>Measurements that every file has.</summary>
    private sealed record Measured(long Bytes, Spread LoadSeconds, Spread PeakBytes, Spread StartBytes);
}
