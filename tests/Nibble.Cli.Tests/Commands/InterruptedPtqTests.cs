using System.Diagnostics;
using System.Text;

namespace Nibble.Cli.Tests.Commands;

/// <summary>Runs of <c>ptq</c> that are killed, stopped, starved of disk or begun again differently.</summary>
[Collection(OneAtATime.Name)]
public sealed class InterruptedPtqTests : IDisposable
{
    private const string Preset = "w3a16-g8-gptaq";
    private readonly TinyFolder folder = new(layers: 4);

    public InterruptedPtqTests()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "sends POSIX signals, with GNU env to reset inherited ones");
        File.WriteAllText(folder.TrainingText, new StringBuilder().Insert(0, File.ReadAllText(folder.TrainingText), 40).ToString());
    }

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task KilledAtTenRandomMomentsEveryRunEndsWithTheSameBytes()
    {
        var expected = await Uninterrupted();
        var started = Stopwatch.GetTimestamp();
        await Succeeds("again");
        var duration = Stopwatch.GetElapsedTime(started);
        Assert.Equal(expected, TinyFolder.ContentOf(folder.At("again")));

        const int Moments = 10;
        var random = new Random(20);
        var (killed, resumed) = (0, 0);
        for (var i = 0; i < Moments; i++)
        {
            var name = $"killed{i}";
            using (var child = ChildProcess.Start(folder.Root, Command(name)))
            {
                await Task.Delay(duration * ((i + random.NextDouble()) / Moments), TestContext.Current.CancellationToken);
                child.SignalIfRunning(ChildProcess.Kill);
                await child.Finish();
                killed += child.ExitCode == 128 + ChildProcess.Kill ? 1 : 0;
            }

            resumed += Directory.Exists(Job(name)) ? 1 : 0;
            if (Directory.Exists(Job(name)) || !Directory.Exists(folder.At(name)))
            {
                await Succeeds(name);
            }

            Assert.Equal(expected, TinyFolder.ContentOf(folder.At(name)));
            Assert.False(Directory.Exists(Job(name)));
        }

        // The delays are those of this machine as it was a moment ago: most, not all of them, hit a run at work.
        Assert.InRange(killed, 3, Moments);
        Assert.InRange(resumed, 1, Moments);
        Assert.Equal(["eval.txt", "model", "train.txt"],
            Directory.EnumerateFileSystemEntries(folder.Root).Select(Path.GetFileName)
            .Where(name => name is not ("whole" or "again") && !name!.StartsWith("killed", StringComparison.Ordinal)).Order());
    }

    [Fact]
    public async Task AnInterruptKeepsTheFinishedBlocksAndTheSameCommandGoesOn()
    {
        await Stop("out");
        Assert.False(Directory.Exists(folder.At("out")));
        Assert.True(File.Exists(Path.Combine(Job("out"), "job.json")));

        await Succeeds("out");
        Assert.False(Directory.Exists(Job("out")));
        Assert.Equal(await Uninterrupted(), TinyFolder.ContentOf(folder.At("out")));
    }

    [Fact]
    public async Task AnotherJobIsRefusedUntilRestartStartsOver()
    {
        await Stop("out");
        var before = TinyFolder.ContentOf(Job("out"));
        var otherText = folder.Write("other.txt", "So " + await File.ReadAllTextAsync(folder.TrainingText, TestContext.Current.CancellationToken));
        await Refuses("recipe", Command("out", recipe: "w3a16-g8-gptq"));
        await Refuses("recipe, data", Command("out", windows: 20));
        await Refuses("data", Command("out", data: otherText));
        await Refuses("seed", [.. Command("out"), "--seed", "2"]);
        await Refuses("threads", Command("out", threads: 2));
        folder.WriteWeights(_ => true, seed: 8);
        await Refuses("model", Command("out"));
        Assert.Equal(before, TinyFolder.ContentOf(Job("out")));

        await Succeeds("out", "--restart");
        Assert.Equal(await Uninterrupted(), TinyFolder.ContentOf(folder.At("out")));

        async Task Refuses(string difference, string[] command)
        {
            var run = await CommandRun.Of(command);
            Assert.Equal(ExitCode.BadInput, run.ExitCode);
            Assert.EndsWith(
                $"out.job holds an interrupted run of another job: it differs in {difference}. Rerun that job to resume it, or start over with --restart",
                run.Error.TrimEnd(),
                StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task AnOutputThatExistsIsRefusedBeforeAnyWork()
    {
        await Stop("out");
        var job = TinyFolder.ContentOf(Job("out"));
        Directory.CreateDirectory(folder.At("out"));
        foreach (var more in (string[][])[[], ["--restart"]])
        {
            var run = await CommandRun.Of([.. Command("out"), .. more]);
            Assert.Equal(ExitCode.BadInput, run.ExitCode);
            Assert.Contains("the output folder exists already", run.Error, StringComparison.Ordinal);
        }

        Assert.Equal(job, TinyFolder.ContentOf(Job("out")));
    }

    [Fact]
    public async Task ASecondRunOnTheSameOutputIsRefused()
    {
        using var first = ChildProcess.Start(folder.Root, Command("out", windows: 100_000, length: 8));
        await first.ReadErrorUntil("quantize 1/");

        // On a busy machine the first could be done before the second has begun.
        first.Signal(ChildProcess.Pause);
        var second = await ChildProcess.Run(folder.Root, Command("out", windows: 100_000, length: 8));
        first.Signal(ChildProcess.Interrupt);
        first.Signal(ChildProcess.Continue);
        await first.Finish();

        Assert.Equal(ExitCode.Cancelled, first.ExitCode);
        Assert.Equal(ExitCode.BadInput, second.ExitCode);
        Assert.Contains("another run is using this folder", second.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0.01, "")]
    [InlineData(0.9, "")]
    [InlineData(1, "disk/out.job/part-000")]
    [InlineData(1, "disk/out.job/part-003")]
    public async Task ADiskWithoutRoomStopsTheRunAndAsMuchRoomAsWasPredictedLetsItEndWithTheSameBytes(double share, string filledAt)
    {
        // A disk of its own, which only this process and its children see.
        const string Namespace = "unshare --map-root-user --mount";
        using (var probe = ChildProcess.StartBash(folder.Root, $"{Namespace} mount -t tmpfs none /mnt", []))
        {
            await probe.Finish();
            Assert.SkipUnless(probe.ExitCode == 0, "mounts a small disk in a namespace of its own");
        }

        Directory.CreateDirectory(folder.At("disk"));
        var needed = (await CommandRun.Succeeds([.. Command("disk/out"), "--dry-run", "--json"])).Json.GetProperty("diskBytes").GetInt64();
        const int Page = 4096;
        const int Entries = 50;
        var room = needed + (Page * Entries);
        var script = $$"""
            exec {{Namespace}} bash -c '
                mount -t tmpfs -o size={{(share < 1 ? (long)(needed * share) : room)}} none disk || exit 100
                filled={{filledAt}}
                if [ -n "$filled" ]; then
                    (until [ -e "$filled" ]; do sleep 0.002; done; cat /dev/zero > disk/theirs 2> /dev/null) &
                fi
                "$0" "$@" && exit 101
                code=$?
                wait
                rm -f disk/theirs
                echo "exit code $code, holds: $(ls disk)"
                mount -o remount,size={{room}} disk || exit 102
                "$0" "$@" >&2 && mv disk/out moved && echo "then holds: $(ls disk)"' "$0" "$@"
            """;
        using var child = ChildProcess.StartBash(folder.Root, script, Command("disk/out"));
        var (output, error) = await child.Finish();
        Assert.True(child.ExitCode == 0, $"{child.ExitCode}: {error}");
        const string Room = @"the disk has [\d,]+ free";
        const string Refused = @"out\.job: the unfinished work with the artifact takes [\d,]+ bytes, but ";
        Assert.Matches(share < 1 ? Refused + Room : "No space left on device|" + Room, error);
        Assert.DoesNotContain("   at ", error, StringComparison.Ordinal);
        Assert.Equal(share < 1, !error.Split("free;")[0].Contains("quantize 1/", StringComparison.Ordinal));
        Assert.Equal($"exit code {ExitCode.BadInput}, holds: out.job\nthen holds: \n", output);
        Assert.Equal(await Uninterrupted(), TinyFolder.ContentOf(folder.At("moved")));
    }

    [Theory]
    [InlineData("part-000/model.safetensors")]
    [InlineData("part-000/nibble.json")]
    [InlineData("part-000/checksums.txt")]
    [InlineData("inputs-001.bin")]
    [InlineData("floats-001.bin")]
    public async Task UnfinishedWorkThatIsDamagedIsNeverResumedFrom(string name)
    {
        using (var child = ChildProcess.Start(folder.Root, Command("out")))
        {
            await child.WaitForFile(Path.Combine(Job("out"), "floats-001.bin"));
            child.Signal(ChildProcess.Interrupt);
            await child.Finish();
        }

        var file = Path.Combine(Job("out"), name);
        var bytes = await File.ReadAllBytesAsync(file, TestContext.Current.CancellationToken);
        bytes[bytes.Length / 2] ^= 1;
        await File.WriteAllBytesAsync(file, bytes, TestContext.Current.CancellationToken);
        var before = TinyFolder.ContentOf(Job("out"));
        var run = await CommandRun.Of(Command("out"));
        Assert.Equal(ExitCode.BadInput, run.ExitCode);
        Assert.Matches(@"out\.job/[\w./-]+ is damaged: its checksum .* not .*; the work cannot be resumed from it: start over with --restart", run.Error);
        Assert.Equal(before, TinyFolder.ContentOf(Job("out")));
        await CommandRun.Succeeds([.. Command("out"), "--restart"]);
        Assert.False(Directory.Exists(Job("out")));
    }

    [Fact]
    public async Task ADryRunLeavesNothingBehind()
    {
        Directory.CreateDirectory(folder.At("temporary"));
        var before = folder.Content();
        using var child = ChildProcess.Start(folder.Root, [.. Command("out"), "--dry-run"], new() { ["TMPDIR"] = folder.At("temporary") });
        var (output, error) = await child.Finish();
        Assert.True(child.ExitCode == ExitCode.Done, error);
        Assert.StartsWith($"dry run of {Preset}: 28 layers, about ", output, StringComparison.Ordinal);
        Assert.Equal(before, folder.Content());
    }

    [Theory]
    [InlineData("cuda")]
    [InlineData("cuda:3")]
    public async Task ADeviceThatThisMachineLacksIsRefused(string device)
    {
        var run = await CommandRun.Of([.. Command("out"), "--device", device]);
        Assert.Equal(ExitCode.BadInput, run.ExitCode);
        Assert.StartsWith($"nibble: the device {device} ", run.Error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(Job("out")));
    }

    private string Job(string name) => folder.At(name + ".job");

    private string[] Command(string name, string recipe = Preset, string? data = null, int windows = 100, int length = 64, int threads = 1) =>
    [
        "ptq", folder.Model, "-r", recipe, "-d", data ?? folder.TrainingText, "-o", folder.At(name),
        "--windows", $"{windows}", "--length", $"{length}", "--threads", $"{threads}",
    ];

    private async Task Succeeds(string name, params string[] more)
    {
        var run = await ChildProcess.Run(folder.Root, [.. Command(name), .. more]);
        Assert.True(run.ExitCode == ExitCode.Done, run.Error);
    }

    private async Task<SortedDictionary<string, string>> Uninterrupted()
    {
        await Succeeds("whole");
        return TinyFolder.ContentOf(folder.At("whole"));
    }

    /// <summary>Begins a run and interrupts it at its first layer.</summary>
    private async Task Stop(string name)
    {
        using var child = ChildProcess.Start(folder.Root, Command(name));
        await child.ReadErrorUntil("quantize 1/");
        child.Signal(ChildProcess.Interrupt);
        var (output, error) = await child.Finish();
        Assert.Equal(ExitCode.Cancelled, child.ExitCode);
        Assert.Empty(output);
        Assert.EndsWith("nibble: cancelled; finished blocks are kept, and the same command resumes from there (--restart starts over)", error.TrimEnd(),
            StringComparison.Ordinal);
    }
}
