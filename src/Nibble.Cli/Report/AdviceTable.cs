using Nibble.Cli.Rendering;
using Nibble.Cli.Report.Documents;
using Nibble.Planning;
using Spectre.Console;

namespace Nibble.Cli.Report;

/// <summary>The table of options, for the terminal and the report.</summary>
internal static class AdviceTable
{
    /// <summary>Headings. The first two columns contain text.</summary>
    /// <param name="unit">The unit of losses.</param>
    public static IReadOnlyList<string> Columns(LossUnit unit) =>
        ["option", "evidence", "loss", "from", "to", .. unit.HasPerplexity ? (string[])["perplexity"] : [], "time", "memory", "size", "tokens"];

    /// <summary>The number of <see cref="Columns"/> with text.</summary>
    public const int TextColumns = 2;

    /// <summary>The cells of an option, one for each of <see cref="Columns"/>.</summary>
    public static IReadOnlyList<string> Cells(AdvisedOption option, LossUnit unit) =>
    [
        option.Name,
        AdviceText.Word(option.Evidence),
        Numbers.Loss(option.Loss.Value),
        Numbers.Loss(option.Loss.Low),
        Numbers.Loss(option.Loss.High),
        .. unit.HasPerplexity ? (string[])[Numbers.Change(option.Loss.Value)] : [],
        Numbers.Duration(option.Seconds),
        Numbers.Bytes(option.PeakBytes),
        Numbers.Bytes(option.Bytes),
        Numbers.Count(option.Tokens),
    ];

    /// <summary>Writes the allowed options, best first, and the reasons that rule out the others.</summary>
    public static void Write(AdviceDocument document, IAnsiConsole console)
    {
        var unit = document.Unit();
        var columns = Columns(unit);
        var table = new Table { Border = TableBorder.Simple };
        for (var column = 0; column < columns.Count; column++)
        {
            var alignment = column < TextColumns ? Justify.Left : Justify.Right;
            table.AddColumn(new TableColumn(new Text(columns[column])) { Alignment = alignment, NoWrap = column > 0 });
        }

        foreach (var option in document.Options.Where(option => option.Allowed))
        {
            var style = document.Recommends(option) ? new Style(decoration: Decoration.Bold) : Style.Plain;
            table.AddRow(Cells(option, unit).Select(cell => new Text(cell, style)));
        }

        if (table.Rows.Count > 0)
        {
            console.WriteTable(table);
        }

        foreach (var option in document.Options.Where(option => !option.Allowed))
        {
            console.WriteLine($"ruled out: {option.Name} {string.Join("; it ", option.Reasons)}");
        }
    }
}
