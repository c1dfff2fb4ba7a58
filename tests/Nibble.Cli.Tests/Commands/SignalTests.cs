namespace Nibble.Cli.Tests.Commands;

/// <summary>Signals, and input that never comes.</summary>
[Collection(OneAtATime.Name)]
public sealed class SignalTests : IDisposable
{
    private const string Stopping = "nibble: stopping at the next safe point; send a second signal to stop immediately";

    private readonly TinyFolder folder = new();

    public SignalTests() => Assert.SkipUnless(OperatingSystem.IsLinux(), "sends POSIX signals, with GNU env to reset inherited ones");

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData(ChildProcess.HangUp)]
    [InlineData(ChildProcess.Terminate)]
    public async Task TheFirstSignalSaves(int signal)
    {
        using var process = ChildProcess.Start(folder.Root, Qat("batchSize: 4"));
        await process.ReadErrorUntil("train ");
        process.Signal(signal);

        // A starter passes a signal on that the process has had already.
        process.SignalIfRunning(ChildProcess.Interrupt);
        var (_, error) = await process.Finish();

        Assert.Equal(ExitCode.Cancelled, process.ExitCode);
        Assert.Single(error.Split('\n'), Stopping);
        Assert.Contains("finished steps are kept", error, StringComparison.Ordinal);
        Assert.True(File.Exists(Path.Combine(folder.At("out.job"), "checkpoint.safetensors")));
    }

    [Fact]
    public async Task TheSecondSignalEndsItAtOnce()
    {
        // A step of as many parts takes hours.
        using var process = ChildProcess.Start(folder.Root, Qat("batchSize: 1000000\n  accumulation: 1000000"));
        await process.WaitFor(() => File.Exists(Path.Combine(folder.At("out.job"), "job.json")));
        var begun = process.Worked;
        await process.WaitFor(() => process.Worked > begun + TimeSpan.FromSeconds(2));
        process.Signal(ChildProcess.Terminate);
        await process.ReadErrorUntil(Stopping);
        await Task.Delay(TimeSpan.FromSeconds(0.6), TestContext.Current.CancellationToken);
        process.Signal(ChildProcess.Interrupt);
        var (_, error) = await process.Finish();

        Assert.Equal(ExitCode.Cancelled, process.ExitCode);
        Assert.Equal("nibble: stopped immediately", error.TrimEnd());
    }

    [Theory]
    [InlineData("eval", ChildProcess.Terminate)]
    [InlineData("compare", ChildProcess.HangUp)]
    public async Task APipeThatNobodyWritesToDoesNotHoldASignalOff(string command, int signal)
    {
        var pipe = await MakePipe("pipe");
        string[] arguments = command == "eval"
            ? [command, folder.Model, "--data", pipe]
            : [command, folder.Model, "--data", pipe, "--eval-data", folder.EvaluationText];
        using var process = ChildProcess.Start(folder.Root, arguments, new() { ["TMPDIR"] = folder.Root });
        await process.WaitFor(() => process.HasOpen("libtorch"));
        process.Signal(signal);
        var (output, error) = await process.Finish();

        Assert.Equal(ExitCode.Cancelled, process.ExitCode);
        Assert.Empty(output);
        Assert.EndsWith("nibble: cancelled; nothing was written", error.TrimEnd(), StringComparison.Ordinal);
        Assert.Empty(Directory.EnumerateDirectories(folder.Root, "nibble-*"));
    }

    [Fact]
    public async Task ATextMayComeThroughAPipe()
    {
        var expected = await ChildProcess.Run(folder.Root, ["eval", folder.Model, "--data", folder.EvaluationText]);
        using var process = ChildProcess.StartBash(folder.Root, "exec \"$0\" \"$@\" --data <(cat eval.txt)", ["eval", folder.Model]);
        var (output, error) = await process.Finish();

        Assert.True(process.ExitCode == ExitCode.Done, error);
        Assert.Equal(expected.Output.Split('\n')[0], output.Split('\n')[0]);
    }

    [Theory]
    [InlineData("config.json")]
    [InlineData("model.safetensors")]
    [InlineData("tokenizer.json")]
    public async Task APipeInThePlaceOfAModelsFileIsRefused(string name)
    {
        File.Delete(Path.Combine(folder.Model, name));
        await MakePipe(Path.Combine("model", name));
        string[][] commands =
        [
            ["inspect", folder.Model],
            ["eval", folder.Model, "--data", folder.EvaluationText],
            ["ptq", folder.Model, "-r", "w4a16-g8", "-o", folder.At("out")],
        ];
        foreach (var command in commands)
        {
            var run = await CommandRun.Of(command);
            Assert.Equal(ExitCode.BadInput, run.ExitCode);
            Assert.Contains($"{name} is a pipe, expected a regular file", run.Error, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("inspect FILE")]
    [InlineData("bench FILE")]
    [InlineData("generate FILE -p x")]
    [InlineData("import FILE -o out")]
    [InlineData("quantize FILE --type q8_0 -o out")]
    [InlineData("verify FILE.onnx --data x")]
    public async Task APipeInThePlaceOfAFileIsRefused(string command)
    {
        await MakePipe("file");
        await MakePipe("file.onnx");
        var words = command.Split(' ')
            .Select(word => word switch { "FILE" => folder.At("file"), "FILE.onnx" => folder.At("file.onnx"), "out" => folder.At("out"), _ => word });
        var run = await CommandRun.Of([.. words]);

        Assert.Equal(ExitCode.BadInput, run.ExitCode);
        Assert.Contains(" is a pipe, expected a regular file", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task MoreThreadsThanProcessorsAreNotStartedAndThatIsSaid()
    {
        var most = ThreadLimit.Most;
        foreach (var command in (string[][])[
            ["eval", folder.Model, "--data", folder.EvaluationText, "--windows", "1"],
            ["qat", folder.Model, "-r", "w4a16-g8", "-d", folder.TrainingText, "--steps", "1", "-o", folder.At("qat")],
            ["verify", folder.Model, "--engine", "onnxruntime", "--data", folder.EvaluationText, "--windows", "1"]])
        {
            using var process = ChildProcess.Start(folder.Root, [.. command, "--threads", "100000"]);
            var threads = 0;
            await process.WaitFor(() => (threads = Math.Max(threads, process.Threads)) > 100 * most);
            var (_, error) = await process.Finish();

            Assert.True(process.ExitCode == ExitCode.Done, error);
            Assert.StartsWith($"nibble: --threads is 100000, but this process has {most} processors; using {most} threads", error, StringComparison.Ordinal);
            Assert.InRange(threads, 1, (10 * most) + 40);
        }
    }

    private string[] Qat(string settings)
    {
        var recipe = folder.Write("recipe.yaml", $"preset: w4a16-g8\nqat:\n  sequenceLength: 32\n  {settings}\n");
        return ["qat", folder.Model, "--recipe", recipe, "--data", folder.TrainingText, "--output", folder.At("out"), "--steps", "1000000"];
    }

    private async Task<string> MakePipe(string name)
    {
        using var process = ChildProcess.StartBash(folder.Root, "mkfifo \"$1\"", [name]);
        await process.Finish();
        Assert.Equal(0, process.ExitCode);
        return folder.At(name);
    }
}
