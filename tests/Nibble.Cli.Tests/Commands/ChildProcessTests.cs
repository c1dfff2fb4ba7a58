namespace Nibble.Cli.Tests.Commands;

/// <summary>The built program in a process of its own: signals, the environment, the current folder.</summary>
[Collection(OneAtATime.Name)]
public sealed class ChildProcessTests : IDisposable
{
    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData(2)]
    [InlineData(15)]
    public async Task ASignalCancelsATrainingWith130AndKeepsItsJobAlone(int signal)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "sends POSIX signals, with GNU env to reset inherited ones");
        string[] arguments = ["qat", folder.Model, "-r", "w4a16-g32", "-d", folder.TrainingText, "-o", folder.At("out"), "--steps", "1000000"];
        using var process = ChildProcess.Start(folder.Root, arguments, new() { ["TMPDIR"] = folder.Root });
        await process.ReadErrorUntil("train ");
        process.Signal(signal);
        var (output, error) = await process.Finish();

        Assert.Equal(ExitCode.Cancelled, process.ExitCode);
        Assert.Empty(output);
        Assert.EndsWith("the same command resumes from there (--restart starts over)", error.TrimEnd(), StringComparison.Ordinal);
        Assert.True(File.Exists(Path.Combine(folder.At("out.job"), "checkpoint.safetensors")));
        Assert.False(Directory.Exists(folder.At("out")));
    }

    [Fact]
    public async Task ASignalCancelsAComparisonWith130AndKeepsWhatIsDone()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "sends POSIX signals, with GNU env to reset inherited ones");
        const int signal = 2;
        var before = folder.Content();
        string[] arguments = ["compare", folder.Model, "-d", folder.TrainingText, "-e", folder.EvaluationText, "--steps", "1000000"];
        using var process = ChildProcess.Start(folder.Root, arguments, new() { ["TMPDIR"] = folder.Root });
        await process.ReadErrorUntil("train ");
        process.Signal(signal);
        var (output, error) = await process.Finish();

        Assert.Equal(ExitCode.Cancelled, process.ExitCode);
        Assert.Empty(output);
        Assert.EndsWith("cancelled; finished work is kept, and the same command resumes from there (--restart starts over)", error.TrimEnd(),
            StringComparison.Ordinal);
        Assert.All(folder.Content().Keys.Except(before.Keys), path => Assert.StartsWith("report.html.job", path, StringComparison.Ordinal));
        Assert.True(Directory.Exists(folder.At("report.html.job")));
    }

    [Fact]
    public async Task CompareWithoutAnOutputWritesOnlyTheReportIntoTheCurrentFolder()
    {
        var before = folder.Content().Keys.ToList();
        using var process = ChildProcess.Start(
            folder.Root,
            ["compare", folder.Model, "-d", folder.TrainingText, "-e", folder.EvaluationText, "--steps", "1", "--windows", "1", "--bits", "8", "--json"],
            new() { ["TMPDIR"] = folder.Root });
        var (output, error) = await process.Finish();

        Assert.True(process.ExitCode == 0, error);
        Assert.StartsWith("{", output, StringComparison.Ordinal);
        Assert.Equal(["report.html"], folder.Content().Keys.Except(before));
    }

    [Fact]
    public async Task AForcedKernelThatDoesNotExistIsRefused()
    {
        using var process = ChildProcess.Start(
            folder.Root, ["ptq", folder.Model, "-r", "w4a16-g32", "-o", folder.At("out")], new() { ["NIBBLE_KERNEL"] = "abacus" });
        var (output, error) = await process.Finish();

        Assert.Equal(ExitCode.BadInput, process.ExitCode);
        Assert.Empty(output);
        Assert.Contains("NIBBLE_KERNEL is \"abacus\", expected one of ", error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(folder.At("out")));
    }

    [Fact]
    public async Task EveryKernelWritesTheSameArtifact()
    {
        foreach (var kernel in new[] { "scalar", "vector" })
        {
            using var process = ChildProcess.Start(
                folder.Root, ["ptq", folder.Model, "-r", "w3a16-g32-mse", "-o", folder.At(kernel)], new() { ["NIBBLE_KERNEL"] = kernel });
            var (_, error) = await process.Finish();
            Assert.True(process.ExitCode == 0, error);
        }

        Assert.Equal(TinyFolder.ContentOf(folder.At("scalar")), TinyFolder.ContentOf(folder.At("vector")));
    }
}
