using Nibble.Cli.Rendering;
using Spectre.Console;

namespace Nibble.Cli.Tests.Rendering;

public sealed class TableWriterTests
{
    [Fact]
    public void ATableThatFitsIsATable() =>
        Assert.Equal(["layer shape", "up 16 x 8", "down is long 8 x 16"], Written(40));

    [Fact]
    public void WordsBreakOnlyBetweenRows() =>
        Assert.Equal(["layer shape", "up 16 x 8", "down 8 x 16", "is", "long"], Written(18));

    [Fact]
    public void ATableThatDoesNotFitIsToldRowByRow() =>
        Assert.Equal(["up", "shape: 16 x 8", "down is long", "shape: 8 x 16"], Written(16));

    private static string[] Written(int width)
    {
        using var writer = new StringWriter();
        var console = WriterOutput.Console(writer);
        console.Profile.Width = width;
        var table = new Table { Border = TableBorder.Simple };
        table.AddColumn("layer").AddColumn(new TableColumn("shape").NoWrap());
        table.AddRow("up", "16 x 8").AddRow("down is long", "8 x 16");
        console.WriteTable(table);
        return [.. writer.ToString().ReplaceLineEndings("\n").Split('\n').Select(Squeezed).Where(line => line.Length > 0)];
    }

    /// <summary>A line's words, with one blank between two of them.</summary>
    private static string Squeezed(string line) => string.Join(' ', line.Trim('─').Split(' ', StringSplitOptions.RemoveEmptyEntries));
}
