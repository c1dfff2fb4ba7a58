using System.Globalization;
using System.Text;
using Nibble.Recipes;

namespace Nibble.Benchmarks.EncoderTable;

/// <summary>What one road gave, seed by seed.</summary>
internal sealed class Results
{
    private readonly List<Cost> costs = [];

    public List<double> Accuracies { get; } = [];

    public void Add(Outcome outcome)
    {
        Accuracies.Add(outcome.Test);
        costs.Add(outcome.Cost);
    }

    public string Minutes => Table.Number(costs.Average(cost => cost.Seconds) / 60, "F2");

    public string Peak => Table.Number(costs.Max(cost => cost.PeakBytes) / 1048576.0, "F0");
}

/// <summary>A width's roads.</summary>
internal sealed class Row
{
    public Results Ptq { get; } = new();

    public Results Hybrid { get; } = new();

    public Results Qat { get; } = new();

    public List<string> PtqRecipes { get; } = [];
}

/// <summary>All results, and how they are shown.</summary>
internal sealed class Table(QatSettings settings, int threads)
{
    private readonly Dictionary<string, Row> rows = [];

    public QatSettings Settings => settings;

    public Results Float { get; } = new();

    public Results Control { get; } = new();

    public Row Of(Width width)
    {
        if (!rows.TryGetValue(width.Label, out var row))
        {
            rows.Add(width.Label, row = new Row());
        }

        return row;
    }

    public string ToMarkdown(IReadOnlyList<Width> widths)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"Accuracy on SST-2's 1,821 test sentences in percent, mean and standard deviation over {Float.Accuracies.Count} seeds; choices were made on the 872 dev sentences. ")
            .AppendLine("\"Lost\" are points against the same seed's float model, \"published\" the usual ranges; a negative loss is a gain.")
            .AppendLine()
            .AppendLine(CultureInfo.InvariantCulture, $"Float: {Mean(Float.Accuracies)}. Float control, trained for the same {settings.Steps} further steps without quantization: {Mean(Control.Accuracies)}, lost {Lost(Control)}.")
            .AppendLine()
            .AppendLine("| | bits | PTQ | lost | published | hybrid | lost | QAT | lost | lost to the control | published |")
            .AppendLine("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
        foreach (var width in widths)
        {
            var row = Of(width);
            text.AppendLine(CultureInfo.InvariantCulture, $"| {width.Name} | `{width.Label}` | {Mean(row.Ptq.Accuracies)} | {Lost(row.Ptq)} | {width.PublishedPtq} | {Mean(row.Hybrid.Accuracies)} | {Lost(row.Hybrid)} | {Mean(row.Qat.Accuracies)} | {Lost(row.Qat)} | {Mean(Differences(Control, row.Qat))} | {width.PublishedQat} |");
        }

        text.AppendLine()
            .AppendLine(CultureInfo.InvariantCulture, $"What each road takes with {threads} thread{(threads == 1 ? string.Empty : "s")} (mean over the seeds, without scoring; most memory of the whole process). PTQ is the best recipe alone, not the search for it.")
            .AppendLine()
            .AppendLine("| road | minutes | MiB |")
            .AppendLine("|---|---:|---:|")
            .AppendLine(CultureInfo.InvariantCulture, $"| float training | {Float.Minutes} | {Float.Peak} |")
            .AppendLine(CultureInfo.InvariantCulture, $"| float control | {Control.Minutes} | {Control.Peak} |");
        foreach (var width in widths)
        {
            var row = Of(width);
            text.AppendLine(CultureInfo.InvariantCulture, $"| PTQ `{width.Label}` | {row.Ptq.Minutes} | {row.Ptq.Peak} |")
                .AppendLine(CultureInfo.InvariantCulture, $"| hybrid `{width.Label}` | {row.Hybrid.Minutes} | {row.Hybrid.Peak} |")
                .AppendLine(CultureInfo.InvariantCulture, $"| QAT `{width.Label}` | {row.Qat.Minutes} | {row.Qat.Peak} |");
        }

        text.AppendLine().AppendLine("PTQ's best recipes, seed by seed:").AppendLine();
        foreach (var width in widths)
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"- {string.Join("; ", Of(width).PtqRecipes)}");
        }

        return text.ToString();
    }

    public static string Number(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);

    private string Lost(Results results) => Mean(Differences(Float, results));

    private static double[] Differences(Results from, Results to) => [.. from.Accuracies.Zip(to.Accuracies, (a, b) => a - b)];

    /// <summary>Mean and sample standard deviation.</summary>
    private static string Mean(IReadOnlyList<double> values)
    {
        var mean = values.Average();
        var deviation = values.Count > 1 ? Math.Sqrt(values.Sum(value => (value - mean) * (value - mean)) / (values.Count - 1)) : 0;
        return $"{Number(mean, "F2")} ± {Number(deviation, "F2")}";
    }
}
