using Nibble.Cli.Tests.Documents;

namespace Nibble.Cli.Tests.Commands;

/// <summary>Completion of command lines by shells.</summary>
[Collection(OneAtATime.Name)]
public class CompletionTests
{
    [Theory]
    [InlineData("nibble pt", "ptq")]
    [InlineData("pt", "ptq")]
    [InlineData("nibble export m --to ", "gguf")]
    [InlineData("nibble ptq m --rec", "--recipe")]
    [InlineData("nibble ptq m --recipe ", "w4a16-g32-gptq")]
    [InlineData("nibble advise m --engine onn", "onnxruntime")]
    public async Task OffersWhatFits(string line, string expected)
    {
        var run = await CommandRun.Of($"[suggest:{line.Length}]", line);

        Assert.Equal((0, string.Empty), (run.ExitCode, run.Error));
        Assert.Contains(expected, run.Output.Split(Environment.NewLine));
    }

    [Fact]
    public async Task CompletesTheWordAtThePosition()
    {
        var run = await CommandRun.Of("[suggest:8]", "nibble i model --json");

        Assert.Contains("inspect", run.Output.Split(Environment.NewLine));
        Assert.DoesNotContain("ptq", run.Output.Split(Environment.NewLine));
    }

    [Theory]
    [InlineData("[suggest:x]")]
    [InlineData("[suggest")]
    public async Task AnythingElseInBracketsIsNoCommand(string word) => Assert.Equal(2, (await CommandRun.Of(word, "pt")).ExitCode);

    [Fact]
    public async Task AStdoutThatTakesNothingIsAnError()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "/dev/full is Linux's");

        using var shell = ChildProcess.StartBash(Path.GetTempPath(), "exec \"$0\" \"$@\" >/dev/full", ["[suggest:2]", "pt"]);
        var (_, error) = await shell.Finish();

        Assert.Equal(ExitCode.BadInput, shell.ExitCode);
        Assert.Contains("the result cannot be written to stdout", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task TheScriptForBashInTheDocumentsCompletes()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "the script is for bash");
        var script = "nibble() { \"$0\" \"$@\"; }\n" + Document.Read("docs/how-to/install.md").Block("bash")
            + "\nCOMP_LINE='nibble ver'; COMP_POINT=10; COMP_WORDS=(nibble ver); COMP_CWORD=1; _nibble; echo \"${COMPREPLY[@]}\"";

        using var shell = ChildProcess.StartBash(Path.GetTempPath(), script, []);
        var (output, error) = await shell.Finish();

        Assert.Equal(("verify", string.Empty), (output.Trim(), error));
    }
}
