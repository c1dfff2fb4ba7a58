using System.CommandLine;
using System.Globalization;
using System.Text;
using Nibble.Torch.Native;
using TorchSharp;

namespace Nibble.Benchmarks.EncoderTable;

/// <summary>The table of a task: float, round to nearest, the best of PTQ and QAT at each width, over seeds.</summary>
internal static class TableCommand
{
    public static Command Create(string name, string description, bool isEmbedding)
    {
        var model = new Argument<string>("model") { Description = "a pretrained encoder's folder" };
        var data = new Argument<string>("data") { Description = "a folder with train.tsv, dev.tsv (recipes are chosen by it) and test.tsv (reported)" };
        var seeds = new Option<int[]>("--seeds")
        {
            Description = "which; each keeps its outcomes in a file of its own, so that two processes can share the work",
            AllowMultipleArgumentsPerToken = true,
            DefaultValueFactory = _ => [1, 2, 3],
        };
        var threads = new Option<int>("--threads") { DefaultValueFactory = _ => Environment.ProcessorCount };
        var work = new Option<string>(
            "--work")
        {
            Description = "where fine-tuned models and outcomes are kept: the same command resumes",
            DefaultValueFactory = _ => $"encoder-table-{name}"
        };
        var only = new Option<string?>("--only") { Description = "one width alone, such as w4a4" };
        var command = new Command(name, description) { model, data, seeds, threads, work, only };
        command.SetAction(parsed =>
        {
            TorchRuntime.EnsureLoaded();
            torch.set_num_threads(parsed.GetValue(threads));
            var folder = parsed.GetRequiredValue(data);
            var options = new TableOptions(
                parsed.GetRequiredValue(model), Path.Combine(folder, "train.tsv"), Path.Combine(folder, "dev.tsv"), Path.Combine(folder, "test.tsv"),
                parsed.GetRequiredValue(work));
            Directory.CreateDirectory(options.Work);
            var widths = Width.All.Where(width => parsed.GetValue(only) is not { } label || width.Label == label).ToList();
            var rows = widths.ToDictionary(width => width, _ => (Nearest: new List<Outcome>(), Ptq: new List<Outcome>(), Qat: new List<Outcome>()));
            var (floats, controls) = (new List<Outcome>(), new List<Outcome>());
            foreach (var seed in parsed.GetRequiredValue(seeds))
            {
                var runs = new SeedRuns(options, isEmbedding, seed);
                floats.Add(runs.Float());
                if (!isEmbedding)
                {
                    controls.Add(runs.Control());
                }

                foreach (var width in widths)
                {
                    rows[width].Nearest.Add(runs.Ptq(width.Nearest));
                    rows[width].Ptq.Add(runs.BestPtq(width));
                    rows[width].Qat.Add(runs.Qat(width));
                }
            }

            Console.WriteLine(isEmbedding ? Embedding(floats, rows) : Classification(floats, controls, rows));
        });
        return command;
    }

    private static string Classification(
        List<Outcome> floats, List<Outcome> controls, Dictionary<Width, (List<Outcome> Nearest, List<Outcome> Ptq, List<Outcome> Qat)> rows)
    {
        var text = new StringBuilder();
        text.AppendLine(Invariant($"float {Mean(floats)} ({Minutes(floats)}); trained two epochs more in float: {Mean(controls)} ({Minutes(controls)})."));
        text.AppendLine();
        text.AppendLine("| | round to nearest | PTQ | QAT | PTQ loses (published) | QAT loses (published) | of PTQ's loss, QAT recovers |");
        text.AppendLine("|---|---|---|---|---|---|---|");
        foreach (var (width, (nearest, ptq, qat)) in rows)
        {
            var (base0, p, q) = (floats.Average(item => item.Test), ptq.Average(item => item.Test), qat.Average(item => item.Test));
            var recovered = base0 - p > 0.2 ? Invariant($"{100 * (q - p) / (base0 - p):F0} %") : "nothing to recover";
            text.AppendLine(
                $"| {width.Label} | {Mean(nearest)} | {Mean(ptq)} | {Mean(qat)} | {Lost(base0 - p, width.PublishedPtq)} | {Lost(base0 - q, width.PublishedQat)} | "
                    + $"{recovered} |");
        }

        text.AppendLine();
        text.Append(Costs(rows));
        text.AppendLine();
        foreach (var (width, (_, ptq, _)) in rows)
        {
            text.AppendLine($"{width.Label}: PTQ chose {string.Join(", ", ptq.Select(item => item.Recipe).Distinct())}.");
        }

        return text.ToString();
    }

    private static string Embedding(List<Outcome> floats, Dictionary<Width, (List<Outcome> Nearest, List<Outcome> Ptq, List<Outcome> Qat)> rows)
    {
        var text = new StringBuilder();
        text.AppendLine(Invariant($"float {floats[0].Test / 100:F4}"));
        text.AppendLine();
        text.AppendLine("| | round to nearest | cosine | PTQ | cosine | QAT | cosine |");
        text.AppendLine("|---|---|---|---|---|---|---|");
        foreach (var (width, (nearest, ptq, qat)) in rows)
        {
            text.AppendLine(
                $"| {width.Label} | {Rank(nearest)} | {Cosine(nearest)} | {Rank(ptq)} | {Cosine(ptq)} | {Rank(qat)} | {Cosine(qat)} |");
        }

        text.AppendLine();
        text.Append(Costs(rows));
        return text.ToString();
    }

    /// <summary>What the methods cost: processor time of all threads, so that it is the same on a busy machine.</summary>
    private static string Costs(Dictionary<Width, (List<Outcome> Nearest, List<Outcome> Ptq, List<Outcome> Qat)> rows)
    {
        var text = new StringBuilder();
        text.AppendLine("| | PTQ: minutes of one core | MiB | texts | QAT: minutes of one core | MiB | texts |");
        text.AppendLine("|---|---|---|---|---|---|---|");
        foreach (var (width, (_, ptq, qat)) in rows)
        {
            text.AppendLine($"| {width.Label} | {Cost(ptq)} | {Cost(qat)} |");
        }

        return text.ToString();
    }

    private static string Lost(double points, string published) => Invariant($"{points:F2}") + (published.Length > 0 ? $" ({published})" : string.Empty);

    private static string Mean(List<Outcome> items) =>
        Invariant($"{items.Average(item => item.Test):F2} ± {Deviation([.. items.Select(item => item.Test)]):F2}");

    private static string Rank(List<Outcome> items) =>
        Invariant($"{items.Average(item => item.Test) / 100:F4} ± {Deviation([.. items.Select(item => item.Test)]) / 100:F4}");

    private static string Cosine(List<Outcome> items) => Invariant($"{items.Average(item => item.Cosine):F4}");

    private static string Minutes(List<Outcome> items) => Invariant($"{items.Average(item => item.CpuSeconds) / 60:F1} minutes of one core");

    private static string Cost(List<Outcome> items) =>
        Invariant($"{items.Average(item => item.CpuSeconds) / 60:F1} | {items.Max(item => item.PeakBytes) >> 20:N0} | {items.Average(item => item.Samples):N0}");

    /// <summary>The deviation of a sample.</summary>
    private static double Deviation(double[] values) =>
        values.Length < 2 ? 0 : Math.Sqrt(values.Sum(value => (value - values.Average()) * (value - values.Average())) / (values.Length - 1));

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
