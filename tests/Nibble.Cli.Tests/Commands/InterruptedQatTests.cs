using System.Diagnostics;

namespace Nibble.Cli.Tests.Commands;

/// <summary>Runs of <c>qat</c> that are killed, stopped or begun again differently.</summary>
[Collection(OneAtATime.Name)]
public sealed class InterruptedQatTests : IDisposable
{
    private const int Steps = 60;

    private readonly TinyFolder folder = new(layers: 2);
    private string recipe;

    public InterruptedQatTests()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "sends POSIX signals, with GNU env to reset inherited ones");

        // Everything that a checkpoint holds besides weights: moving ranges, averages, looks at held-out text, widths that change.
        recipe = folder.Write("recipe.yaml", """
            preset: w2a8-g8-static
            qat:
              activations: straightThrough
              batchSize: 4
              sequenceLength: 32
              accumulation: 2
              averageDecay: 0.9
              evaluateEvery: 5
              patience: 100
              schedule: { annealFrom: 8, annealingShare: 0.5, activationDelay: 0.2 }
            """);
    }

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task KilledAgainAndAgainARunEndsWithTheSameBytes(bool blockWise)
    {
        if (blockWise)
        {
            recipe = folder.Write("blocks.yaml", """
                preset: w2a8-g8
                qat: { mode: blockWise, blockSteps: 30, batchSize: 4, sequenceLength: 32 }
                """);
        }

        await Succeeds("whole");
        var started = Stopwatch.GetTimestamp();
        await Succeeds("again");
        var duration = Stopwatch.GetElapsedTime(started);
        var expected = TinyFolder.ContentOf(folder.At("whole"));
        Assert.Equal(expected, TinyFolder.ContentOf(folder.At("again")));

        // The first kill hits a run for certain; the delays of the others are those of this machine as it was a moment ago.
        using (var child = ChildProcess.Start(folder.Root, Command("out")))
        {
            await child.ReadErrorUntil(blockWise ? "quantize 1/" : "train 1/");
            child.Signal(ChildProcess.Kill);
            await child.Finish();
            Assert.Equal(128 + ChildProcess.Kill, child.ExitCode);
        }

        var random = new Random(20);
        for (var i = 0; i < 5 && !Directory.Exists(folder.At("out")); i++)
        {
            using var child = ChildProcess.Start(folder.Root, Command("out"));
            await Task.Delay(duration * (0.3 + (0.7 * random.NextDouble())), TestContext.Current.CancellationToken);
            child.SignalIfRunning(ChildProcess.Kill);
            await child.Finish();
        }

        if (Directory.Exists(Job("out")))
        {
            await Succeeds("out");
        }

        Assert.Equal(expected, TinyFolder.ContentOf(folder.At("out")));
        Assert.False(Directory.Exists(Job("out")));
    }

    [Fact]
    public async Task AnInterruptSavesTheStepsAndTheSameCommandGoesOn()
    {
        await Stop("out");
        Assert.False(Directory.Exists(folder.At("out")));
        Assert.True(File.Exists(Path.Combine(Job("out"), "checkpoint.safetensors")));

        var run = await ChildProcess.Run(folder.Root, Command("out"));
        Assert.True(run.ExitCode == ExitCode.Done, run.Error);
        Assert.DoesNotContain("train 1/", run.Error, StringComparison.Ordinal);
        await Succeeds("whole");
        Assert.Equal(TinyFolder.ContentOf(folder.At("whole")), TinyFolder.ContentOf(folder.At("out")));
    }

    [Fact]
    public async Task AnotherJobIsRefusedUntilRestartStartsOver()
    {
        await Stop("out");
        await Refuses("recipe", [.. Command("out"), "--learning-rate", "0.01"]);
        await Refuses("seed", [.. Command("out"), "--seed", "2"]);
        await Refuses("data", Command("out", data: folder.EvaluationText));
        await Refuses("method, recipe, data, device, training",
            ["ptq", folder.Model, "-r", "w8a8-static", "-d", folder.TrainingText, "-o", folder.At("out"), "--threads", "1"]);
        await Succeeds("out", "--restart");
        await Succeeds("whole");
        Assert.Equal(TinyFolder.ContentOf(folder.At("whole")), TinyFolder.ContentOf(folder.At("out")));

        async Task Refuses(string difference, string[] command)
        {
            var run = await CommandRun.Of(command);
            Assert.Equal(ExitCode.BadInput, run.ExitCode);
            Assert.EndsWith($"it differs in {difference}. Rerun that job to resume it, or start over with --restart", run.Error.TrimEnd(),
                StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("checkpoint.safetensors", "TEXT", "full")]
    [InlineData("checkpoint.safetensors.codes/model.safetensors", "TEXT", "blockWise")]
    [InlineData("text.bin", "self", "full")]
    public async Task UnfinishedWorkThatIsDamagedIsNeverResumedFrom(string name, string text, string mode)
    {
        recipe = folder.Write("mode.yaml", $$"""
            preset: w2a16-g8
            qat: { mode: {{mode}}, blockSteps: 2, batchSize: 4, sequenceLength: 32 }
            """);
        var file = Path.Combine(Job("out"), name);
        string[] command =
        [
            "qat", folder.Model, "-r", recipe, "-d", text == "self" ? text : folder.TrainingText, "-o", folder.At("out"),
            "--threads", "1", "--checkpoint-every", "1", .. text == "self" ? (string[])["--windows", "4"] : [],
        ];
        using (var child = ChildProcess.Start(folder.Root, [.. command, "--steps", "100000"]))
        {
            await child.WaitForFile(file);
            child.Signal(ChildProcess.Interrupt);
            await child.Finish();
            Assert.Equal(ExitCode.Cancelled, child.ExitCode);
        }

        var bytes = await File.ReadAllBytesAsync(file, TestContext.Current.CancellationToken);
        bytes[bytes.Length * 2 / 3] ^= 1;
        await File.WriteAllBytesAsync(file, bytes, TestContext.Current.CancellationToken);
        var before = TinyFolder.ContentOf(Job("out"));
        var run = await CommandRun.Of([.. command, "--steps", "100000"]);
        Assert.Equal(ExitCode.BadInput, run.ExitCode);
        Assert.Matches(@"out\.job/[\w./-]+ is damaged: its checksum .* not .*; the work cannot be resumed from it: start over with --restart", run.Error);
        Assert.Equal(before, TinyFolder.ContentOf(Job("out")));
        await CommandRun.Succeeds([.. command, "--steps", "1", "--restart"]);
        Assert.False(Directory.Exists(Job("out")));
    }

    [Fact]
    public async Task ATrainingThatDivergesKeepsItsLastGoodCheckpointAndOneThatNeverBeganKeepsNothing()
    {
        var run = await CommandRun.Of([.. Command("out"), "--learning-rate", "1e30"]);
        Assert.Equal(ExitCode.BadInput, run.ExitCode);
        Assert.Contains("Lower the learning rate (it is 1E+30)", run.Error, StringComparison.Ordinal);
        Assert.Contains("The checkpoint of step 1 is in ", run.Error, StringComparison.Ordinal);
        Assert.True(File.Exists(Path.Combine(Job("out"), "checkpoint.safetensors")));

        folder.RuinAWeight();
        Assert.Equal(ExitCode.BadInput, (await CommandRun.Of(Command("ruined"))).ExitCode);
        Assert.False(Directory.Exists(Job("ruined")));
    }

    [Fact]
    public async Task ADeviceThatThisMachineLacksIsRefused()
    {
        var run = await CommandRun.Of([.. Command("out"), "--device", "cuda:3"]);
        Assert.Equal(ExitCode.BadInput, run.ExitCode);
        Assert.StartsWith("nibble: the device cuda:3 ", run.Error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(Job("out")));
    }

    private string Job(string name) => folder.At(name + ".job");

    private string[] Command(string name, string? data = null) =>
        ["qat", folder.Model, "-r", recipe, "-d", data ?? folder.TrainingText, "-o", folder.At(name), "--steps", $"{Steps}", "--checkpoint-every", "1",
            "--threads", "1"];

    private async Task Succeeds(string name, params string[] more)
    {
        var run = await ChildProcess.Run(folder.Root, [.. Command(name), .. more]);
        Assert.True(run.ExitCode == ExitCode.Done, run.Error);
    }

    /// <summary>Begins a run and interrupts it at its first step.</summary>
    private async Task Stop(string name)
    {
        using var child = ChildProcess.Start(folder.Root, Command(name));
        await child.ReadErrorUntil("train 1/");
        child.Signal(ChildProcess.Interrupt);
        var (output, error) = await child.Finish();
        Assert.Equal(ExitCode.Cancelled, child.ExitCode);
        Assert.Empty(output);
        Assert.EndsWith("nibble: cancelled; finished steps are kept, and the same command resumes from there (--restart starts over)", error.TrimEnd(),
            StringComparison.Ordinal);
    }
}
