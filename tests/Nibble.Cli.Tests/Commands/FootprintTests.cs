using System.Text.RegularExpressions;

namespace Nibble.Cli.Tests.Commands;

/// <summary>Nothing is written but the output, what is temporary, and the program's own cache, and nobody is told anything.</summary>
public sealed partial class FootprintTests : IDisposable
{
    private readonly TinyFolder folder = new();

    public FootprintTests()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "knows where Linux's programs keep what they write");
        foreach (var name in (string[])["home", "temporary", "current", "output"])
        {
            Directory.CreateDirectory(folder.At(name));
        }
    }

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task CommandsLeaveNothingButTheirOutputAndTheCache()
    {
        var (gguf, onnx) = (folder.At("output/model.gguf"), folder.At("output/model.onnx"));
        var before = Outside();
        string[][] commands =
        [
            ["export", folder.Model, "--to", "gguf", "-o", gguf],
            ["export", folder.Model, "--to", "onnx", "-o", onnx],
            ["verify", onnx, "--data", folder.EvaluationText, "--windows", "1"],
            ["generate", onnx, "--prompt", "The fox", "--max-tokens", "2"],
            ["bench", onnx, "--repeats", "1", "--tokens", "1", "--prompt-tokens", "2"],
            ["eval", folder.Model, "--data", folder.EvaluationText, "--windows", "1"],
            ["ptq", folder.Model, "-r", "w4a16-g8-gptq", "--data", folder.TrainingText, "--windows", "1", "-o", folder.At("output/ptq")],
            ["qat", folder.Model, "-r", "w4a16-g8", "--data", folder.TrainingText, "--steps", "1", "-o", folder.At("output/qat")],
            ["sensitivity", folder.Model, "--data", folder.TrainingText, "--bits", "8", "--algorithm", "rtn", "--windows", "1"],
        ];
        foreach (var command in commands)
        {
            using var process = ChildProcess.Start(folder.At("current"), command, Environment());
            var (_, error) = await process.Finish();
            Assert.True(process.ExitCode == ExitCode.Done, error);
        }

        Assert.Equal(before, Outside().Where(path => !path.StartsWith("home/.local/share/nibble/", StringComparison.Ordinal)));
    }

    /// <summary>Asks the system itself what ONNX Runtime, which has telemetry, opens to write and where it connects to.</summary>
    [Fact]
    public async Task OnnxRuntimeOpensNoFileToWriteAndNoConnection()
    {
        await CommandRun.Succeeds("export", folder.Model, "--to", "onnx", "-o", folder.At("output/model.onnx"));
        var log = folder.At("calls");
        const string calls = "open,openat,creat,mkdir,mkdirat,connect,sendto";
        const string script = $"command -v strace > /dev/null || exit 77; exec strace -f -qq -e trace={calls} -o \"$1\" \"$0\" \"${{@:2}}\"";
        string[] arguments = [log, "bench-worker", "onnxruntime", folder.At("output/model.onnx"), "", "2", "1", "1"];
        using var process = ChildProcess.StartBash(folder.At("current"), script, arguments, Environment());
        var (_, error) = await process.Finish();
        var mayNot = process.ExitCode == 77 || error.Contains("ptrace", StringComparison.Ordinal);
        Assert.SkipWhen(mayNot, "there is no strace here, or it may not look at processes");
        Assert.True(process.ExitCode == ExitCode.Done, error);

        // The runtime names its threads by /proc/self, and talks to itself by local sockets.
        string[] harmless = ["\"/proc/self/", "\"/dev/", "AF_UNIX", " = -1 "];
        Assert.DoesNotContain(File.ReadLines(log), line => Writes().IsMatch(line) && !harmless.Any(text => line.Contains(text, StringComparison.Ordinal)));
    }

    [Fact]
    public async Task AHomeThatCannotBeWrittenIsDoneWithout()
    {
        var environment = Environment();
        environment["HOME"] = "/proc";
        string[] eval = ["eval", folder.Model, "--data", folder.EvaluationText, "--windows", "1"];
        using (var process = ChildProcess.Start(folder.At("current"), eval, environment))
        {
            var (_, error) = await process.Finish();
            Assert.True(process.ExitCode == ExitCode.Done, error);
        }

        Assert.Empty(Directory.EnumerateFileSystemEntries(folder.At("temporary")));

        // Where libstdc++ is new, nothing has to be written at all.
        environment["TMPDIR"] = "/proc";
        using var second = ChildProcess.Start(folder.At("current"), eval, environment);
        var (_, message) = await second.Finish();
        Assert.Contains(second.ExitCode, new[] { ExitCode.Done, ExitCode.NativeLibrary });
        if (second.ExitCode == ExitCode.NativeLibrary)
        {
            Assert.StartsWith("nibble: TorchSharp's native library must be rewritten for this system", message, StringComparison.Ordinal);
            Assert.Contains("written and loaded in /proc/.local/share/nibble/native or /proc", message, StringComparison.Ordinal);
            Assert.EndsWith("Set HOME or TMPDIR to a writable folder that allows execution.", message.TrimEnd(), StringComparison.Ordinal);
        }
    }

    private Dictionary<string, string> Environment() => new()
    {
        ["HOME"] = folder.At("home"),
        ["TMPDIR"] = folder.At("temporary"),
        ["XDG_CACHE_HOME"] = string.Empty,
        ["XDG_DATA_HOME"] = string.Empty,
        ["XDG_CONFIG_HOME"] = string.Empty,
    };

    /// <summary>All that is there but for the outputs.</summary>
    private List<string> Outside() =>
    [
        .. Directory.EnumerateFiles(folder.Root, "*", SearchOption.AllDirectories)
            .Select(path => Path.GetRelativePath(folder.Root, path))
            .Where(path => !path.StartsWith("output/", StringComparison.Ordinal))
            .Order(StringComparer.Ordinal),
    ];

    [GeneratedRegex(@"O_WRONLY|O_RDWR|O_CREAT|creat\(|mkdir|connect\(|sendto\(")]
    private static partial Regex Writes();
}
