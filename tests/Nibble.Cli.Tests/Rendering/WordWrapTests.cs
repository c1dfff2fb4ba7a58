using Nibble.Cli.Rendering;

namespace Nibble.Cli.Tests.Rendering;

public sealed class WordWrapTests
{
    [Theory]
    [InlineData("", 5, "")]
    [InlineData("short", 5, "short")]
    [InlineData("two words", 5, "two\n  words")]
    [InlineData("a b c d e f", 5, "a b c\n  d e\n  f")]
    [InlineData("  indented line", 10, "  indented\n    line")]
    [InlineData("unbreakable", 5, "unbreakable")]
    [InlineData("see /a/long/path/of/a/file now", 10, "see\n  /a/long/path/of/a/file\n  now")]
    [InlineData("one two\nthree four", 8, "one two\nthree\n  four")]
    [InlineData("trailing   ", 8, "trailing   ")]
    [InlineData("         deep", 5, "         deep")]
    public void LinesBreakBetweenWords(string text, int width, string expected) => Assert.Equal(expected, WordWrap.Break(text, width));

    [Fact]
    public void PiecesStayWholeWhereALineHoldsThem() =>
        Assert.Equal("  shape: 64 x 64,\n  min: -1, max: 2", WordWrap.Flow(["shape: 64 x 64", "min: -1", "max: 2"], 20));

    [Fact]
    public void NothingIsLostAndWhatCanFitFits() => Gen.Select(Gen.String[Gen.Char[" ab"], 0, 60], Gen.Int[1, 20]).Sample((text, width) =>
    {
        var lines = WordWrap.Break(text, width).Split('\n');
        Assert.Equal(Words(text), lines.SelectMany(Words));
        Assert.All(
            lines.Where(line => line.Trim().Contains(' ', StringComparison.Ordinal)),
            line => Assert.True(line.TrimEnd().Length <= width, $"'{line}' is longer than {width}"));
    });

    private static string[] Words(string text) => text.Split(' ', StringSplitOptions.RemoveEmptyEntries);
}
