using Spectre.Console;
using Spectre.Console.Rendering;

namespace Nibble.Cli.Rendering;

/// <summary>Writes tables without breaking words or numbers on narrow terminals.</summary>
internal static class TableWriter
{
    private const int Unbounded = 10_000;

    /// <summary>Writes a table. If it is too wide for the terminal, each row becomes a list of its cells with their headings.</summary>
    public static void WriteTable(this IAnsiConsole console, Table table)
    {
        var options = RenderOptions.Create(console);
        var columns = table.Columns.Select((column, index) => (IReadOnlyList<IRenderable>)[column.Header, .. table.Rows.Select(row => row[index])]).ToList();
        var widths = columns.ConvertAll(cells => cells.Max(cell => cell.Measure(options, Unbounded).Max));
        var room = console.Profile.Width - (((IRenderable)table).Measure(options, Unbounded).Max - widths.Sum());
        var least = columns.Select((cells, index) => table.Columns[index] is { NoWrap: true } or { Alignment: Justify.Right }
            ? widths[index]
            : cells.Max(cell => cell.Measure(options, Unbounded).Min)).ToList();
        if (least.Sum() > room)
        {
            WriteRows(console, table, options);
            return;
        }

        // The widest columns shrink first, down to their longest word.
        while (widths.Sum() > room)
        {
            var widest = Enumerable.Range(0, widths.Count).Where(index => widths[index] > least[index]).MaxBy(index => widths[index]);
            table.Columns[widest].Width = --widths[widest];
        }

        console.Write(table);
    }

    private static void WriteRows(IAnsiConsole console, Table table, RenderOptions options)
    {
        var headings = table.Columns.Select(column => Text(column.Header)).ToList();
        foreach (var row in table.Rows)
        {
            var cells = row.Select(Text).ToList();
            console.Profile.Out.Writer.WriteLine(cells[0]);
            var named = cells.Zip(headings).Skip(1).Where(item => item.First.Length > 0).Select(item => $"{item.Second}: {item.First}").ToList();
            if (named.Count > 0)
            {
                console.Profile.Out.Writer.WriteLine(WordWrap.Flow(named, console.Profile.Width));
            }
        }

        string Text(IRenderable cell) => string.Concat(cell.Render(options, Unbounded).Select(segment => segment.Text)).Trim();
    }
}
