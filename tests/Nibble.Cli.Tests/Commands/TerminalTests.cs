using System.Text.RegularExpressions;

namespace Nibble.Cli.Tests.Commands;

/// <summary>Every command on a terminal, where most of what it shows takes other ways than into a file.</summary>
/// <remarks>In a collection of its own, beside others: all is done by processes.</remarks>
public sealed partial class TerminalTests : IClassFixture<TerminalTests.Files>
{
    private const int Narrow = 40;
    private const int Wide = 120;

    // Processes at once; each has threads of its own.
    private static readonly SemaphoreSlim Turns = new(2);

    private static readonly Dictionary<string, string> Plain = [];
    private static readonly Dictionary<string, string> NoColour = new() { ["NO_COLOR"] = "1" };
    private static readonly Dictionary<string, string> Dumb = new() { ["TERM"] = "dumb" };

    private readonly Files files;

    public TerminalTests(Files files)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "opens pseudo-terminals by Linux's calls");
        this.files = files;
    }

    /// <summary>All commands, and what stands on stderr while they work; empty where nothing does.</summary>
    public static TheoryData<string, string> Commands => new()
    {
        { "advise", "train" },
        { "compare", "train" },
        { "inspect", "" },
        { "inspect-file", "" },
        { "ptq", "quantize" },
        { "qat", "train" },
        { "eval", "evaluate" },
        { "generate", "" },
        { "sensitivity", "measure" },
        { "mix", "measure" },
        { "export", "export" },
        { "import", "" },
        { "verify", "compare" },
        { "bench", "bench" },
        { "imatrix", "imatrix" },
        { "quantize", "quantize" },
        { "help", "" },
    };

    [Theory]
    [MemberData(nameof(Commands))]
    public async Task ACommandOnATerminal(string command, string stage)
    {
        // Both widths, both kinds of terminals, and each stream alone in a file.
        var runs = await Task.WhenAll(
            Run(command, Narrow, PseudoTerminal.Nothing, Plain),
            Run(command, Narrow, PseudoTerminal.Nothing, Dumb),
            Run(command, Wide, PseudoTerminal.Output, Plain),
            Run(command, Wide, PseudoTerminal.Error, NoColour));
        var (both, dumb, error, output) = (runs[0], runs[1], runs[2], runs[3]);
        Assert.All(runs, run => Assert.True(run.ExitCode == ExitCode.Done, run.Terminal + run.Redirected));

        // Colours are all that a terminal is told beyond text, and not even they where they are not wanted.
        Assert.Equal(string.Empty, ControlCharacters(Colours().Replace(both.Terminal, string.Empty)));
        Assert.All([dumb, error, output], run => Assert.Equal(string.Empty, ControlCharacters(run.Terminal)));
        Assert.All(runs, run => Assert.DoesNotContain('\r', run.Redirected));
        Assert.DoesNotContain('\r', dumb.Terminal.Replace("\r\n", "\n", StringComparison.Ordinal));

        // A model writes any bytes, which a file gets as they are.
        Assert.Equal(string.Empty, command == "generate" ? string.Empty : ControlCharacters(error.Redirected + output.Redirected));

        foreach (var (run, width) in new[] { (both, Narrow), (dumb, Narrow), (error, Wide), (output, Wide) })
        {
            Assert.All(Colours().Replace(run.Terminal, string.Empty).Split('\n'), line => Assert.True(Fits(line, width), $"{line} is longer than {width}"));
        }

        if (stage.Length > 0)
        {
            // On a terminal the line of a stage is written over; elsewhere there are several lines. The probes of advise end by the clock.
            var end = command == "advise" ? string.Empty : "  100 %";
            Assert.Contains(both.Lines, line => line.Contains($"{stage}  ", StringComparison.Ordinal));
            Assert.Contains(error.Lines, line => Regex.IsMatch(line, $"{stage}  ━+{end}"));
            Assert.All([dumb.Terminal, output.Redirected], text => Assert.Matches($@"(^|: |\n){stage} \d+/\d+", text));
        }
    }

    [Fact]
    public async Task ABarShowsRateAndTimeLeftInOneLine()
    {
        string[] arguments = ["qat", files.Model, "-r", "w4a16-g8", "-d", files.TrainingText, "--steps", "60", "-o", files.At("rates")];
        var run = await PseudoTerminal.Run(files.Root, Wide, PseudoTerminal.Nothing, NoColour, arguments);

        Assert.True(run.ExitCode == ExitCode.Done, run.Terminal);
        Assert.Matches(@"train  [━─]+  \d+ %  \d+/60  loss \d+\.\d+  .*\d+ tokens/s  \d+ s left", run.Terminal);
        var line = Assert.Single(run.Lines, line => line.StartsWith("train ", StringComparison.Ordinal));
        Assert.Matches(@"^train  ━+  100 %  60/60  loss \d+\.\d+  .*\d+ tokens/s$", line);
    }

    private async Task<TerminalRun> Run(string command, int columns, string redirection, Dictionary<string, string> environment)
    {
        await Turns.WaitAsync(TestContext.Current.CancellationToken);
        try
        {
            return await PseudoTerminal.Run(files.Root, columns, redirection, environment, files.Arguments(command));
        }
        finally
        {
            Turns.Release();
        }
    }

    /// <summary>Whether a line fits, or could not be broken: a single word, a command to be copied.</summary>
    private static bool Fits(string line, int width) => line.TrimEnd('\r').Split('\r').All(part =>
        part.TrimEnd().Length <= width || !part.Trim().Contains(' ', StringComparison.Ordinal) || CommandToCopy().IsMatch(part));

    private static string ControlCharacters(string text) =>
        string.Concat(text.Where(c => char.IsControl(c) && c is not ('\r' or '\n')).Select(c => $"\\x{(int)c:x2}"));

    [GeneratedRegex("^nibble (ptq|qat) ")]
    private static partial Regex CommandToCopy();

    [GeneratedRegex(@"\x1b\[[0-9;]*m")]
    private static partial Regex Colours();

    /// <summary>What the commands work on, made once.</summary>
    public sealed class Files : IDisposable
    {
        private readonly TinyFolder folder = new();
        private int outputs;

        public Files()
        {
            Gguf = folder.At("model.gguf");
            Onnx = folder.At("onnx/model.onnx");
            Directory.CreateDirectory(Path.GetDirectoryName(Onnx)!);
            Make("export", folder.Model, "--to", "gguf", "-o", Gguf);
            Make("export", folder.Model, "--to", "onnx", "-o", Onnx);
        }

        public string Root => folder.Root;

        public string Model => folder.Model;

        public string TrainingText => folder.TrainingText;

        private string Gguf { get; }

        private string Onnx { get; }

        public string At(string name) => folder.At(name);

        public string[] Arguments(string command)
        {
            var output = folder.At($"output-{Interlocked.Increment(ref outputs)}");
            string[] data = ["--data", folder.TrainingText];
            string[] quick = ["--algorithm", "rtn", "--windows", "1", "--cache", output + "-cache"];
            return command switch
            {
                "advise" => [command, folder.Model, .. data, "--eval-data", folder.EvaluationText, "--bits", "8", "--probe-minutes", "0.01"],
                "compare" =>
                    [command, folder.Model, .. data, "--eval-data", folder.EvaluationText, "--bits", "8", "--steps", "2", "--windows", "2", "--output", output],
                "inspect" => [command, folder.Model],
                "inspect-file" => ["inspect", Gguf],
                "ptq" => [command, folder.Model, "--recipe", "w4a16-g8-gptq", .. data, "--windows", "2", "--output", output],
                "qat" => [command, folder.Model, "--recipe", "w4a16-g8", .. data, "--steps", "3", "--output", output],
                "eval" => [command, folder.Model, "--data", folder.EvaluationText],
                "generate" => [command, folder.Model, "--prompt", "The fox", "--max-tokens", "4", "--temperature", "0"],
                "sensitivity" => [command, folder.Model, .. data, "--bits", "8", .. quick],
                "mix" =>
                [
                    command, folder.Model, .. data, "--bits", "4,8", "--budget", "6bits", "--rounds", "0", "--points", "1", .. quick, "--output",
                    output + ".yaml",
                ],
                "export" => [command, folder.Model, "--to", "gguf", "--output", output],
                "import" => [command, Gguf, "--output", output],
                "verify" => [command, Onnx, "--data", folder.EvaluationText, "--windows", "2"],
                "bench" => [command, Onnx, "--repeats", "1", "--tokens", "2", "--prompt-tokens", "4"],
                "imatrix" => [command, folder.Model, .. data, "--windows", "2", "--output", output],
                "quantize" => [command, Gguf, "--type", "q8_0", "--output", output],
                _ => ["ptq", "--help"],
            };
        }

        public void Dispose() => folder.Dispose();

        private static void Make(params string[] arguments)
        {
            using var error = new StringWriter();
            Assert.True(NibbleProgram.RunAsync(arguments, TextWriter.Null, error).GetAwaiter().GetResult() == ExitCode.Done, error.ToString());
        }
    }
}
