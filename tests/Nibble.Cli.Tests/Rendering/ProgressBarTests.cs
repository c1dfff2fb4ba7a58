using Nibble.Cli.Rendering;
using Nibble.Cli.Tests.Commands;

namespace Nibble.Cli.Tests.Rendering;

/// <summary>The line of a terminal that shows long work, and its like in files.</summary>
public sealed class ProgressBarTests
{
    [Theory]
    [InlineData(119, "w4: train  ━━━━━━━━━━━━━─────────────  50 %  10/20  loss 1.500  perplexity 4.50  held out 1.250")]
    [InlineData(46, "w4: train  10/20")]
    [InlineData(60, "w4: train  ━━━━━━──────  50 %  10/20")]
    [InlineData(39, "train  10/20")]
    [InlineData(20, "train  10/20")]
    [InlineData(8, "train")]
    [InlineData(3, "tra")]
    public void WhatMattersLessGivesWayFirst(int width, string expected) =>
        Assert.Equal(expected, Composed("w4", new RunProgress("train", 10, 20, 1.5) { Perplexity = 4.5, HeldOutLoss = 1.25 }, width));

    [Fact]
    public void ALineFitsAtEveryWidth() => Gen.Select(Gen.Int[0, 200], Gen.Int[0, 60], Gen.Int[0, 500]).Sample((width, run, done) =>
        Assert.True(Composed(new string('r', run), new RunProgress("train", done, 500, 1) { Perplexity = 2, Tokens = 3 }, width).Length <= width));

    [Fact]
    public void AMessageStandsAboveTheBarAndAStageLeavesOneLine()
    {
        using var terminal = new StringWriter();
        using (var bar = new ProgressBar(terminal, () => 80))
        {
            bar.Report(new RunProgress("calibrate", 1, 2));
            bar.Say("nibble: careful");
            bar.Report(new RunProgress("calibrate", 2, 2));
            bar.Report(new RunProgress("quantize", 1, 1));
            bar.Report(new RunProgress("quantize", 1, 1));
            bar.Begin("w4");
            bar.Report(new RunProgress("quantize", 1, 3));
        }

        var lines = new TerminalRun(0, terminal.ToString(), string.Empty).Lines;
        Assert.Equal(["nibble: careful", "calibrate", "quantize", "w4: quantize", ""], lines.Select(line => line.Split("  ")[0]));
        Assert.Contains("100 %  2/2", lines[1], StringComparison.Ordinal);
        Assert.Contains("33 %  1/3", lines[3], StringComparison.Ordinal);
    }

    [Fact]
    public void TheTimeOfAllRunsIsShownBehindThatOfTheStage()
    {
        using var file = new StringWriter();
        using (var lines = new ProgressLines(file))
        {
            lines.Expect(() => 250);
            lines.Report(new RunProgress("train", 1, 2));
        }

        Assert.Equal("train 1/2, 4 min left in total", file.ToString().TrimEnd());
        Assert.EndsWith("4 min left in total", ProgressBar.Compose(new ProgressStage("w4", new RunProgress("train", 1, 2)), 100, "4 min left in total"),
            StringComparison.Ordinal);
    }

    [Fact]
    public void FilesGetTheFirstLineOfTheWorkAndTheLastOfEachStage()
    {
        using var file = new StringWriter();
        using (var lines = new ProgressLines(file))
        {
            lines.Report(new RunProgress("sample", 1, 3) { Unit = "MB" });
            lines.Report(new RunProgress("sample", 2, 3) { Unit = "MB" });
            lines.Say("nibble: careful");
            lines.Report(new RunProgress("train", 7, 7, 1.5) { HeldOutLoss = 2 });
        }

        Assert.Equal(["sample 1/3 MB", "nibble: careful", "train 7/7, loss 1.500, held out 2.000", ""], file.ToString().ReplaceLineEndings("\n").Split('\n'));
    }

    private static string Composed(string run, RunProgress progress, int width) => ProgressBar.Compose(new ProgressStage(run, progress), width);
}
