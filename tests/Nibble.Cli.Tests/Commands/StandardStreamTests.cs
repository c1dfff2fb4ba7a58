namespace Nibble.Cli.Tests.Commands;

/// <summary>Stdout and stderr that are full, closed, or closed by whoever reads them.</summary>
public sealed class StandardStreamTests : IDisposable
{
    private readonly TinyFolder folder = new();

    public StandardStreamTests() => Assert.SkipUnless(OperatingSystem.IsLinux(), "redirects as Linux's shells do, to /dev/full too");

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("2>/dev/full")]
    [InlineData("2>&-")]
    [InlineData("<&- 2>&-")]
    public async Task ProgressThatCannotBeWrittenIsDropped(string redirection)
    {
        var (code, output, error) = await Run($"exec \"$0\" \"$@\" {redirection}", Qat("out"));

        Assert.Equal(ExitCode.Done, code);
        Assert.Contains("layers by qat w4a16-g8", output, StringComparison.Ordinal);
        Assert.Empty(error);
        Assert.True(File.Exists(Path.Combine(folder.At("out"), "model.safetensors")));
    }

    [Theory]
    [InlineData("exec \"$0\" \"$@\" >/dev/full", "the result cannot be written to stdout: No space left on device")]
    [InlineData("exec \"$0\" \"$@\" >&-", "stdout is closed")]
    [InlineData("exec \"$0\" \"$@\" <&- >&-", "stdout is closed")]
    [InlineData("set -o pipefail; \"$0\" \"$@\" | true", "the result cannot be written to stdout: Broken pipe")]
    public async Task AResultThatCannotBeWrittenIsAFailure(string script, string message)
    {
        var (code, output, error) = await Run(script, ["eval", folder.Model, "--data", folder.EvaluationText, "--windows", "1"]);

        Assert.Equal(ExitCode.BadInput, code);
        Assert.Empty(output);
        Assert.Contains($"nibble: {message}", error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task DataMayComeThroughStandardInput()
    {
        var (_, file, _) = await Run("exec \"$0\" \"$@\"", ["eval", folder.Model, "--data", folder.EvaluationText, "--json"]);
        var (code, piped, error) = await Run(
            $"cat {folder.EvaluationText} | \"$0\" \"$@\"", ["eval", folder.Model, "--data", "-", "--json"]);

        Assert.True(code == ExitCode.Done, error);
        Assert.Equal(file.Replace("eval.txt", "stdin", StringComparison.Ordinal), piped);
    }

    [Fact]
    public async Task StandardInputMayBeOneOfSeveralFiles()
    {
        string[] Eval(string first) => ["eval", folder.Model, "--data", first, "--data", folder.TrainingText, "--json"];
        var files = await CommandRun.Succeeds(Eval(folder.EvaluationText));
        var (code, piped, error) = await Run($"cat {folder.EvaluationText} | \"$0\" \"$@\"", Eval("-"));

        Assert.True(code == ExitCode.Done, error);
        Assert.Equal("eval.txt + train.txt", files.Json.GetProperty("data").GetString());
        Assert.Equal(files.Output.Replace("eval.txt", "stdin", StringComparison.Ordinal), piped);
    }

    [Fact]
    public async Task WithNothingToWriteToTheCodeStillTells()
    {
        Assert.Equal(ExitCode.BadInput, (await Run("exec \"$0\" \"$@\" >/dev/full 2>/dev/full", ["inspect", folder.Model])).Code);
        Assert.Equal(ExitCode.BadInput, (await Run("exec \"$0\" \"$@\" <&- >&- 2>&-", ["inspect", folder.Model])).Code);
        Assert.Equal(ExitCode.Usage, (await Run("exec \"$0\" \"$@\" 2>/dev/full", ["inspect"])).Code);
    }

    [Fact]
    public async Task AnArtifactIsThereEvenWhereItsLineCannotBeWritten()
    {
        var (code, _, error) = await Run("exec \"$0\" \"$@\" >/dev/full", Qat("out"));

        Assert.Equal(ExitCode.BadInput, code);
        Assert.Contains("cannot be written to stdout", error, StringComparison.Ordinal);
        Assert.True(File.Exists(Path.Combine(folder.At("out"), "model.safetensors")));
        Assert.False(Directory.Exists(folder.At("out.job")));
    }

    private string[] Qat(string output) =>
        ["qat", folder.Model, "--recipe", "w4a16-g8", "--data", folder.TrainingText, "--steps", "2", "--output", folder.At(output)];

    private async Task<(int Code, string Output, string Error)> Run(string script, string[] arguments)
    {
        using var child = ChildProcess.StartBash(folder.Root, script, arguments);
        var (output, error) = await child.Finish();
        return (child.ExitCode, output, error);
    }
}
