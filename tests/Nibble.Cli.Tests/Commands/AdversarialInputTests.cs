namespace Nibble.Cli.Tests.Commands;

/// <summary>Input and limits that nobody thinks of: none of them is a fault of the program, and it does not say so.</summary>
[Collection(OneAtATime.Name)]
public sealed class AdversarialInputTests : IDisposable
{
    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("sensitivity")]
    [InlineData("mix")]
    public async Task AnAlgorithmThatIsNamedTwice(string command)
    {
        string[] more = command == "mix" ? ["--budget", "3bits", "-o", folder.At("out.yaml")] : [];
        string[] study = ["--data", folder.TrainingText, "--bits", "4", "--algorithm", "rtn,rtn", "--windows", "1", "--cache", folder.At("cache")];
        var run = await CommandRun.Of([command, folder.Model, .. study, .. more]);

        Assert.Equal(ExitCode.Usage, run.ExitCode);
        Assert.Contains("--algorithm names rtn twice; name each algorithm once", run.Error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(folder.At("cache")));
    }

    [Theory]
    [InlineData("")]
    [InlineData("\0\0\0\0")]
    [InlineData("\n\x03Zed")]
    public async Task ASentencepieceModelThatIsNone(string content)
    {
        File.Delete(Path.Combine(folder.Model, "tokenizer.json"));
        File.WriteAllText(Path.Combine(folder.Model, "tokenizer.model"), content);
        string[][] commands =
        [
            ["inspect", folder.Model],
            ["eval", folder.Model, "--data", folder.EvaluationText],
            ["generate", folder.Model, "-p", "x"],
            ["export", folder.Model, "--to", "gguf", "-o", folder.At("out")],
        ];
        foreach (var command in commands)
        {
            Assert.Contains("tokenizer.model", (await Refused(command)).Error, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("eval MODEL --data /dev/zero", "/dev/zero: a NUL byte at offset 0")]
    [InlineData("qat MODEL --data /dev/zero -r w4a16-g8 -o OUT", "/dev/zero: a NUL byte at offset 0")]
    [InlineData("compare MODEL --data /dev/zero --eval-data /dev/zero", "/dev/zero: a NUL byte at offset 0")]
    [InlineData("inspect /dev/zero", "/dev/zero is a device, expected a regular file")]
    [InlineData("import /dev/zero -o OUT", "/dev/zero is a device")]
    [InlineData("quantize /dev/zero --type q8_0 -o OUT", "/dev/zero is a device")]
    [InlineData("eval MODEL --data MODEL", "model is a folder, expected a text file")]
    [InlineData("eval MODEL/config.json --data MODEL", "config.json is a file; give the checkpoint's folder")]
    public async Task ADeviceOrAFolderInThePlaceOfAFile(string command, string message)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "reads /dev/zero");
        var words = command.Replace("MODEL", folder.Model, StringComparison.Ordinal).Replace("OUT", folder.At("out"), StringComparison.Ordinal).Split(' ');

        Assert.Contains(message, (await Refused(words)).Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("config.json")]
    [InlineData("model.safetensors")]
    [InlineData("tokenizer.json")]
    public async Task AModelsFileThatIsALinkToADevice(string name)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "reads /dev/zero");
        File.Delete(Path.Combine(folder.Model, name));
        File.CreateSymbolicLink(Path.Combine(folder.Model, name), "/dev/zero");

        Assert.Contains($"{name} is a device", (await Refused(["eval", folder.Model, "--data", folder.EvaluationText])).Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task MoreTextThanCanBeWritten() =>
        Assert.Contains(
            "self: 2,147,483,647 windows of 64 tokens are too many",
            (await Refused(["qat", folder.Model, "-r", "w4a16-g8", "--data", "self", "--windows", "2147483647", "-o", folder.At("out")])).Error,
            StringComparison.Ordinal);

    [Fact]
    public async Task MoreTokensThanANumberCounts()
    {
        await CommandRun.Succeeds("export", folder.Model, "--to", "onnx", "-o", folder.At("model.onnx"));
        var run = await Refused(["bench", folder.At("model.onnx"), "--tokens", "2147483647", "--repeats", "1"]);
        Assert.Contains("are more than the model's context of 64", run.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("ptq MODEL -r w8a16-g8 -o OUT")]
    [InlineData("quantize GGUF --type q8_0 -o OUT")]
    [InlineData("export MODEL --to gguf -o OUT")]
    [InlineData("export MODEL --to onnx -o OUT")]
    [InlineData("export MODEL --to onnx -o OUT --inline-megabytes 0")]
    [InlineData("import GGUF -o OUT")]
    public async Task AFileThatMayNotGrow(string command)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "limits a process by bash's ulimit");
        if (command.Contains("GGUF", StringComparison.Ordinal))
        {
            await CommandRun.Succeeds("export", folder.Model, "--to", "gguf", "-o", folder.At("model.gguf"));
        }

        var before = folder.Content();
        var words = command.Split(' ')
            .Select(word => word switch { "MODEL" => folder.Model, "GGUF" => folder.At("model.gguf"), "OUT" => folder.At("out"), _ => word });

        // Kilobytes; the runtime itself needs larger files unless it may write where it executes.
        var environment = new Dictionary<string, string> { ["DOTNET_EnableWriteXorExecute"] = "0", ["TMPDIR"] = folder.Root };
        using var process = ChildProcess.StartBash(folder.Root, "ulimit -f 8; exec \"$0\" \"$@\"", [.. words], environment);
        var (output, error) = await process.Finish();

        Assert.True(process.ExitCode == ExitCode.BadInput, $"{process.ExitCode}: {error}");
        Assert.Empty(output);
        const string message = "nibble: a file would grow larger than the file system, or the process's limit (ulimit -f), allows";
        Assert.EndsWith(message, error.TrimEnd(), StringComparison.Ordinal);
        Assert.Equal(before.Keys, folder.Content().Keys.Where(path => !path.StartsWith("out.job", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task MemoryThatRunsOut()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "limits a process by bash's ulimit");
        // The tokens of each window of a batch this large take more than there is.
        var recipe = folder.Write("recipe.yaml", "preset: w4a16-g8\nqat: { batchSize: 1000000, sequenceLength: 32 }\n");
        using var process = ChildProcess.StartBash(
            folder.Root,
            "ulimit -v 6000000; exec \"$0\" \"$@\"",
            ["qat", folder.Model, "-r", recipe, "--data", folder.TrainingText, "--steps", "1", "--threads", "1", "-o", folder.At("out")]);
        var (output, error) = await process.Finish();

        Assert.True(process.ExitCode == ExitCode.BadInput, $"{process.ExitCode}: {error}");
        Assert.Empty(output);
        Assert.Contains("nibble: memory ran out, after ", error, StringComparison.Ordinal);
        Assert.DoesNotContain("internal error", error, StringComparison.Ordinal);
    }

    private static async Task<CommandRun> Refused(string[] command)
    {
        var run = await CommandRun.Of(command);
        Assert.True(run.ExitCode == ExitCode.BadInput, run.Error);
        Assert.Empty(run.Output);
        Assert.DoesNotContain("   at ", run.Error, StringComparison.Ordinal);
        return run;
    }
}
