using System.Text;
using Nibble.Cli.Rendering;
using Spectre.Console;

namespace Nibble.Cli.Report;

/// <summary>A row of the comparison's table.</summary>
/// <param name="Run">The run in this row; null for the float model.</param>
/// <param name="Group">The recipe, or empty for float. Rows with the same group belong together.</param>
/// <param name="IsBest">Whether it has the smallest loss of its width.</param>
/// <param name="Cells">The text of each column.</param>
internal sealed record ComparisonRow(ComparisonRun? Run, string Group, bool IsBest, IReadOnlyList<string> Cells);

/// <summary>The table of a comparison, for the terminal, Markdown and the HTML report.</summary>
internal static class ComparisonTable
{
    /// <summary>Headings: two columns with text, then the columns with numbers.</summary>
    public static IReadOnlyList<string> Columns(QualityScale scale) =>
    [
        "run", "method", "bits", scale.Heading, "loss", .. Given(scale.DivergenceHeading), .. Given(scale.AgreementHeading), "size", "ratio", "sec", "peak",
    ];

    /// <summary>The number of <see cref="Columns"/> with text.</summary>
    public const int TextColumns = 2;

    /// <summary>The rows: the float model, the float control, then every width, most bits first.</summary>
    public static IReadOnlyList<ComparisonRow> Rows(ComparisonResult result)
    {
        var (baseline, scale) = (result.Baseline, result.Scale);
        List<ComparisonRow> rows =
        [
            new(null, "", false,
            [
                "float", "float", Bits(baseline.BitsPerWeight), scale.Value(baseline.Quality), scale.Loss(0), .. Distances(0, 1), Numbers.Bytes(baseline.Bytes),
                Numbers.Ratio(1), "–", "–",
            ]),
        ];
        rows.AddRange(result.Runs.Where(run => run.Method is null).Select(run => Row(run, "", false)));
        foreach (var width in Width.Of(result))
        {
            rows.AddRange(width.Runs.Select(run => Row(run, width.Recipe, run == width.Best)));
        }

        return rows;

        ComparisonRow Row(ComparisonRun run, string group, bool best) => new(run, group, best,
        [
            run.Name,
            run.MethodWord,
            Bits(run.BitsPerWeight),
            scale.Value(run.Quality),
            scale.Loss(run.LossDifference),
            .. Distances(run.Divergence, run.Agreement),
            Numbers.Bytes(run.Bytes),
            Numbers.Ratio((double)baseline.Bytes / run.Bytes),
            Numbers.Seconds(run.Seconds),
            Numbers.Bytes(run.PeakBytes),
        ]);

        IEnumerable<string> Distances(double divergence, double? agreement) =>
        [
            .. Given(scale.DivergenceHeading is null ? null : Numbers.Divergence(divergence)),
            .. Given(scale.AgreementHeading is null ? null : scale.Agreement(agreement ?? double.NaN)),
        ];
    }

    /// <summary>Writes the table to a terminal. The best run of each width is bold.</summary>
    public static void Write(ComparisonResult result, IAnsiConsole console)
    {
        var table = new Table { Border = TableBorder.Simple, ShowRowSeparators = false };
        var columns = Columns(result.Scale);
        for (var column = 0; column < columns.Count; column++)
        {
            table.AddColumn(new TableColumn(new Text(columns[column]))
            {
                Alignment = column < TextColumns ? Justify.Left : Justify.Right,
                Padding = new Padding(0, 0, column == columns.Count - 1 ? 0 : 1, 0),
                NoWrap = column > 0,
            });
        }

        var group = "";
        foreach (var row in Rows(result))
        {
            if (row.Group != group)
            {
                table.AddEmptyRow();
                group = row.Group;
            }

            var style = row.IsBest ? new Style(decoration: Decoration.Bold) : Style.Plain;
            table.AddRow(row.Cells.Select(cell => new Text(Printable(cell), style)));
        }

        console.WriteTable(table);
    }

    /// <summary>The table in GitHub's Markdown. The best run of each width is bold.</summary>
    public static string ToMarkdown(ComparisonResult result)
    {
        var text = new StringBuilder();
        var columns = Columns(result.Scale);
        Append(columns);
        Append([.. columns.Select((_, column) => column < TextColumns ? "---" : "---:")]);
        foreach (var row in Rows(result))
        {
            Append([.. row.Cells.Select(cell => row.IsBest ? $"**{MarkdownText(cell)}**" : MarkdownText(cell))]);
        }

        return text.ToString();

        void Append(IReadOnlyList<string> cells) => text.Append("| ").AppendJoin(" | ", cells).Append(" |\n");
    }

    private static IEnumerable<string> Given(string? text) => text is null ? [] : [text];

    private static string Bits(double value) =>
        double.IsFinite(value) ? value.ToString("0.00", System.Globalization.CultureInfo.InvariantCulture) : Numbers.Missing;

    /// <summary>Replaces control characters, because names come from files and must not control the terminal.</summary>
    private static string Printable(string text) => string.Concat(text.Select(c => char.IsControl(c) ? '\uFFFD' : c));

    private static string MarkdownText(string text)
    {
        var escaped = new StringBuilder();
        foreach (var c in Printable(text))
        {
            escaped.Append(c switch
            {
                '<' => "&lt;",
                '>' => "&gt;",
                '&' => "&amp;",
                '|' or '*' or '_' or '`' or '[' or ']' or '\\' or '~' => $"\\{c}",
                _ => c.ToString(),
            });
        }

        return escaped.ToString();
    }
}
