using Nibble.Files;
using System.CommandLine;
using System.Globalization;
using System.Text;
using Nibble.Planning;

namespace Nibble.Benchmarks.Advisor;

/// <summary><c>curves</c>: holds predictions from the table's short runs, on the text that the advisor sees, against its long ones on the other text. Runs
/// nothing.</summary>
internal static class CurvesCommand
{
    /// <summary>Lengths that a probe trains.</summary>
    private static readonly int[] Short = [10, 20, 40];

    /// <summary>A usual standard error of the gap's mean over the probe's windows.</summary>
    private const double WindowError = 0.003;

    public static Command Create()
    {
        var table = TruthCommand.Table();
        var output = new Option<string>(
            "--output")
        { Description = "the Markdown file to write", DefaultValueFactory = _ => "benchmarks/results/advisor-curves.md" };
        var command = new Command("curves", "Hold predictions from short runs of the table against its long runs") { table, output };
        command.SetAction(parsed =>
            AtomicFile.Write(parsed.GetValue(output)!,
            stream => stream.Write(Encoding.UTF8.GetBytes(Table(new Truth(parsed.GetValue(table)!).Rows.ToList())))));
        return command;
    }

    private static string Table(List<TruthRow> rows)
    {
        var text = new StringBuilder("# Long training runs predicted from short ones\n\nWritten by `benchmarks/advisor.sh`. Losses are nats per token over the "
            + "float model, or over the float control after as many steps.\n\n| model | method | steps | predicted | interval | measured | error | inside |\n"
            + "|---|---|---:|---:|---:|---:|---:|---|\n");
        var (ptq, qat, inside) = (new List<double>(), new List<double>(), 0);
        foreach (var row in rows.Where(row => row.Method != Truth.Float && (row.Steps == 0 || row.Steps > Short[^1])))
        {
            var reference = Find(row, Truth.Float, 0)!;
            var measured = row.Loss - reference.Loss;
            if (row.Steps == 0)
            {
                var seen = row.ProbeLoss - reference.ProbeLoss;
                ptq.Add(Math.Abs(seen - measured));
                text.Append(CultureInfo.InvariantCulture, $"| {row.Model} | ptq {row.Recipe} | | {seen:F4} | | {measured:F4} | {ptq[^1]:F4} | |\n");
                continue;
            }

            // What training alone does to the model is the control's: the gap to it is what quantization costs.
            var gaps = Short.Select(
                steps => new LengthPoint(steps, Find(row, row.Recipe, steps)!.ProbeLoss - Find(row, Truth.Float, steps)!.ProbeLoss, WindowError)).ToList();
            var gap = LossCurve.Gap(gaps, row.Steps);
            var truth = row.Loss - Find(row, Truth.Float, row.Steps)!.Loss;
            qat.Add(Math.Abs(gap.Value - truth));
            inside += gap.Holds(truth) ? 1 : 0;
            text.Append(CultureInfo.InvariantCulture,
                $"| {row.Model} | qat {row.Recipe}, over the control | {row.Steps} | {gap.Value:F4} | {gap.Low:F4} to {gap.High:F4} | {truth:F4} | "
                + $"{qat[^1]:F4} | {(gap.Holds(truth) ? "yes" : "no")} |\n");
        }

        foreach (var (name, errors) in new[] { ("PTQ", ptq), ("QAT over the control", qat) }.Where(item => item.Item2.Count > 0))
        {
            var sorted = errors.Order().ToList();
            text.Append(CultureInfo.InvariantCulture,
                $"\n{name}: {sorted.Count} pairs, error median {sorted[sorted.Count / 2]:F4}, mean {sorted.Average():F4}, largest {sorted[^1]:F4} nats.\n");
        }

        return text.Append(CultureInfo.InvariantCulture, $"\nInside the interval: {inside} of {qat.Count}.\n").ToString();

        TruthRow? Find(TruthRow like, string recipe, int steps) =>
            rows.Find(row => row.Model == like.Model && row.Recipe == recipe && row.Steps == steps && (recipe != like.Recipe || row.Method == like.Method));
    }
}
