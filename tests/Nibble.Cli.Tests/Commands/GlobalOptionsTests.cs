namespace Nibble.Cli.Tests.Commands;

[Collection(OneAtATime.Name)]
public sealed class GlobalOptionsTests : IDisposable
{
    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task WithoutACommandThreeFirstStepsAreShown()
    {
        var run = await CommandRun.Succeeds();

        Assert.Equal(3, run.Output.Split('\n').Count(line => line.StartsWith("  nibble ", StringComparison.Ordinal)));
        Assert.Empty(run.Error);
    }

    [Fact]
    public async Task QuietLeavesWarningsAlone()
    {
        var loud = await CommandRun.Succeeds("ptq", folder.Model, "-r", "w4a16-g32", "-o", folder.At("loud"));
        var quiet = await CommandRun.Succeeds("ptq", folder.Model, "-r", "w4a16-g32", "-o", folder.At("quiet"), "--quiet");

        Assert.Contains("quantize 7/7", loud.Error, StringComparison.Ordinal);
        Assert.Contains("nibble: groups of 32 do not divide", quiet.Error, StringComparison.Ordinal);
        Assert.All(quiet.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries), line => Assert.StartsWith("nibble: ", line, StringComparison.Ordinal));
    }

    [Fact]
    public async Task ALogHasTheCommandItsMessagesItsProgressAndTheExitCodeOfEveryRun()
    {
        var log = folder.At("nibble.log");
        await CommandRun.Succeeds("--log", log, "ptq", folder.Model, "-r", "w4a16-g32", "-o", folder.At("out"), "--quiet");
        await CommandRun.Of("eval", folder.At("none"), "-d", folder.TrainingText, "--log", log);

        var lines = await File.ReadAllLinesAsync(log, TestContext.Current.CancellationToken);
        Assert.All(lines.Where(line => !line.StartsWith("   at ", StringComparison.Ordinal)),
            line => Assert.Matches(@"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line));
        Assert.Contains(lines, line => line.Contains("nibble --log", StringComparison.Ordinal));
        Assert.Contains(lines, line => line.Contains("groups of 32 do not divide", StringComparison.Ordinal));
        Assert.Contains(lines, line => line.Contains("quantize 7/7", StringComparison.Ordinal));
        Assert.Contains(lines, line => line.EndsWith("exit code 0", StringComparison.Ordinal));
        Assert.EndsWith($"exit code {ExitCode.BadInput}", lines[^1], StringComparison.Ordinal);
        Assert.Contains(lines, line => line.Contains(folder.At("none"), StringComparison.Ordinal));
    }

    [Fact]
    public async Task VerboseShowsWhereAnErrorComesFrom()
    {
        var plain = await CommandRun.Of("eval", folder.At("none"), "-d", folder.TrainingText);
        var verbose = await CommandRun.Of("eval", folder.At("none"), "-d", folder.TrainingText, "--verbose");

        Assert.DoesNotContain("   at ", plain.Error, StringComparison.Ordinal);
        Assert.Contains("   at Nibble.", verbose.Error, StringComparison.Ordinal);
        Assert.Equal(plain.ExitCode, verbose.ExitCode);
    }

    [Fact]
    public async Task ALogThatCannotBeWrittenIsBadInput()
    {
        var run = await CommandRun.Of("recipes", "--log", folder.At("no/where.log"));

        Assert.Equal(ExitCode.BadInput, run.ExitCode);
        Assert.Contains("where.log: the log cannot be written", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task QuietAndVerboseTogetherAreAWrongUsage() => Assert.Equal(ExitCode.Usage, (await CommandRun.Of("recipes", "--quiet", "--verbose")).ExitCode);
}
