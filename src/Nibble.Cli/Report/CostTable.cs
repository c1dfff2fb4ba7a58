using Nibble.Models;
using System.Globalization;
using Nibble.Cli.Rendering;
using Nibble.Planning;
using Nibble.Recipes;
using Spectre.Console;

namespace Nibble.Cli.Report;

/// <summary>The cost of a method for one model size.</summary>
internal sealed record CostRow(string Size, long Parameters, string Method, double Flops, double Seconds, double PeakBytes, long Tokens);

/// <summary>The cost of each method for several model sizes on a machine, by the formulas of <see cref="MethodCost"/>.</summary>
internal sealed record CostTable(Hardware Machine, IReadOnlyList<CostRow> Rows)
{
    /// <summary>The formulas, as in docs/explanation/advisor.md.</summary>
    public const string Formula =
        "seconds = FLOP / (FLOP/s x efficiency) + bytes / (bytes/s). For T tokens, W weights in linear layers and V in the head: a forward pass is T (2 (W + "
            + "V) + 4 blocks x channels x length) FLOP; "
        + "training takes 3 passes, and 28 bytes per parameter and 24 per weight in each step; GPTQ takes 2 passes (GPTAQ 3) without the head, and for each "
            + "input of c columns read by r rows 2 T c^2 + c^3 / 3 + r c^2 (GPTAQ's first and last terms twice).";

    /// <summary>Headings of the rows.</summary>
    public static IReadOnlyList<string> Columns { get; } = ["model", "method", "PFLOP", "time", "memory", "tokens"];

    public static CostTable Of(Hardware machine, IReadOnlyList<ModelShape> shapes, IReadOnlyList<int> widths, QatSettings training) => new(
        machine,
        [
            .. shapes.SelectMany(shape => widths.SelectMany(bits => Methods(shape, bits)).Append(Training(shape, training))
                .Select(method => new CostRow(
                    shape.Name, shape.Parameters, method.Name, method.Cost.Flops, method.Cost.Seconds(machine), method.Cost.PeakBytes, method.Cost.Tokens))),
        ]);

    /// <summary>The cells of a row, one for each of <see cref="Columns"/>.</summary>
    public static IReadOnlyList<string> Cells(CostRow row) =>
        [row.Size, row.Method, Numbers.Plain(Math.Round(row.Flops / 1e15, 3)), Numbers.Duration(row.Seconds), Numbers.Bytes((long)row.PeakBytes),
            Numbers.Count(row.Tokens)];

    /// <summary>The machine in words.</summary>
    public string Described =>
        string.Create(CultureInfo.InvariantCulture,
        $"{Machine.Flops / 1e12:0.###} TFLOP/s, of which complete runs reach {Machine.Efficiency:0%}; {Machine.Bandwidth / 1e9:0.#} GB/s");

    public void Write(IAnsiConsole console)
    {
        var table = new Table { Border = TableBorder.Simple };
        foreach (var column in Columns)
        {
            table.AddColumn(new TableColumn(new Text(column)) { Alignment = table.Columns.Count < 2 ? Justify.Left : Justify.Right });
        }

        foreach (var row in Rows)
        {
            table.AddRow(Cells(row).Select(cell => new Text(cell)));
        }

        console.WriteTable(table);
        console.WriteLine($"on {Described}");
        console.WriteLine(Formula);
    }

    private static IEnumerable<(string Name, MethodCost Cost)> Methods(ModelShape shape, int bits)
    {
        var ptq = new PtqSettings();
        var tokens = (long)ptq.Windows * ptq.SequenceLength;
        yield return ($"ptq, {bits} bits, round to nearest", MethodCost.RoundToNearest(shape, bits));
        yield return ($"ptq, {bits} bits, gptq", MethodCost.Gptq(shape, bits, tokens, ptq.SequenceLength, asymmetric: false));
        yield return ($"ptq, {bits} bits, gptaq", MethodCost.Gptq(shape, bits, tokens, ptq.SequenceLength, asymmetric: true));
    }

    private static (string Name, MethodCost Cost) Training(ModelShape shape, QatSettings training) =>
        ($"qat, {training.Steps} steps", MethodCost.Training(shape, training.Steps, training.BatchSize, training.SequenceLength));
}
