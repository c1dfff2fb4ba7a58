using Nibble.Recipes;
using Nibble.Cli.Report;
using Spectre.Console;
using static Nibble.Cli.Tests.Report.FakeComparison;

namespace Nibble.Cli.Tests.Report;

public class ComparisonTableTests
{
    [Fact]
    public void MarkdownIsATableWithTheBestRunOfEachWidthInBold()
    {
        var result = Of(Run(Method.Qat, 3, 0.0544), Run(Method.Ptq, 3, 0.2127), Control(-0.012), Run(Method.Ptq, 8, 0.0002));

        Assert.Equal(
            """
            | run | method | bits | perplexity | loss | KL | agree | size | ratio | sec | peak |
            | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
            | float | float | 32.00 | 4.120 | 0.0000 | 0.0000 | 100.0% | 1.06 MB | 1.0× | – | – |
            | float control | float | 32.00 | 4.071 | -0.0120 | 0.0210 | 93.1% | 1.06 MB | 1.0× | 48.2 | 702 MB |
            | ptq w8a16 | ptq | 8.25 | 4.121 | +0.0002 | 0.0002 | 99.6% | 358 kB | 2.9× | 1.19 | 341 MB |
            | ptq w3a16-g32 | ptq | 3.50 | 5.096 | +0.2127 | 0.1915 | 82.2% | 216 kB | 4.9× | 0.64 | 341 MB |
            | **qat w3a16-g32** | **qat** | **3.50** | **4.350** | **+0.0544** | **0.0690** | **88.2%** | **216 kB** | **4.9×** | **64.4** | **812 MB** |

            """.ReplaceLineEndings("\n"),
            ComparisonTable.ToMarkdown(result));
    }

    [Fact]
    public void MarkdownEscapesNames()
    {
        var run = Run(Method.Ptq, 4, 0.01) with { Name = "a|b <i>*c*</i>\n`d` [e](f)" };

        Assert.Contains("| a\\|b &lt;i&gt;\\*c\\*&lt;/i&gt;\uFFFD\\`d\\` \\[e\\](f) |", ComparisonTable.ToMarkdown(Of(run)));
    }

    [Fact]
    public void TerminalShowsEveryNumberWithin100Columns()
    {
        var lines = Written(Typical(), 100);

        Assert.All(lines, line => Assert.True(line.TrimEnd().Length <= 100, line));
        Assert.Contains(" qat w3a16-g32  qat      3.50       4.350  +0.0544  0.0690   88.2%   216 kB   4.9×  64.4  812 MB",
            lines.Select(line => line.TrimEnd()));
        Assert.Contains(" ptq w2a16-g32  ptq      2.50       515.9  +4.8300  4.3470   17.1%   188 kB   5.6×  0.53  341 MB",
            lines.Select(line => line.TrimEnd()));
    }

    [Fact]
    public void TerminalWrapsLongNamesAndKeepsTheNumbers()
    {
        var lines = Written(Of(Run(Method.Qat, 4, 0.01) with { Name = "qat w4a8 grouped by 128 with learned scales" }), 100);

        Assert.All(lines, line => Assert.True(line.TrimEnd().Length <= 100, line));
        Assert.Contains(lines, line => line.Contains("65.4  812 MB", StringComparison.Ordinal));
    }

    [Fact]
    public void TerminalShowsNamesAsText()
    {
        var text = string.Join('\n', Written(Of(Run(Method.Ptq, 4, 0.01) with { Name = "[red]x[/]\u001b[2J" }), 100));

        Assert.Contains("[red]x[/]\uFFFD[2J", text);
        Assert.DoesNotContain('\u001b', text);
    }

    [Fact]
    public void FailedMeasurementsAreShownAndNeverBest()
    {
        var rows = ComparisonTable.Rows(Of(Run(Method.Ptq, 4, 0.5), Run(Method.Qat, 4, double.NaN), Run(Method.Ptq, 2, double.PositiveInfinity)));

        var qat = rows.Single(row => row.Run?.Method == Method.Qat);
        Assert.Equal(["n/a", "n/a", "n/a", "n/a"], qat.Cells.Skip(3).Take(4));
        Assert.Equal("∞", rows[^1].Cells[3]);
        Assert.Equal(["ptq w4a16-g32"], rows.Where(row => row.IsBest).Select(row => row.Cells[0]));
    }

    private static string[] Written(ComparisonResult result, int columns)
    {
        using var writer = new StringWriter();
        var console = AnsiConsole.Create(
            new AnsiConsoleSettings { Ansi = AnsiSupport.No, ColorSystem = ColorSystemSupport.NoColors, Out = new AnsiConsoleOutput(writer) });
        console.Profile.Width = columns;
        ComparisonTable.Write(result, console);
        return writer.ToString().ReplaceLineEndings("\n").Split('\n');
    }
}
