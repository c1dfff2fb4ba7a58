using Nibble.Models;
using Nibble.Torch.Tests.Models.Bert;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Cli.Tests.Commands;

/// <summary><c>nibble finetune</c>: interrupted, on data that are cut, and of tasks other than classification.</summary>
[Collection(OneAtATime.Name)]
public sealed class FinetuneCommandTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task TheClassesAreThoseOfAllFiles()
    {
        var model = TinyEncoder.WriteEmbedder(folder.File("model"));
        var (good, bad) = (folder.Write("good.tsv", "good film\tgood\n"), folder.Write("bad.tsv", "sentence\tlabel\nbad film\tbad\n"));
        var run = await CommandRun.Succeeds(
            "finetune", model, "--task", "classification", "--data", good, "--data", bad, "--steps", "1", "--threads", "1", "-o", folder.File("out"),
            "--json");

        Assert.Equal(("good.tsv + bad.tsv", 2), (run.Json.GetProperty("data").GetString(), run.Json.GetProperty("count").GetInt32()));
        var config = await File.ReadAllTextAsync(folder.File("out/config.json"), TestContext.Current.CancellationToken);
        Assert.Contains("\"bad\"", config, StringComparison.Ordinal);
    }

    [Fact]
    public async Task KilledAndStoppedATrainingEndsWithTheSameBytes()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "sends POSIX signals, with GNU env to reset inherited ones");
        var model = TinyEncoder.WriteEmbedder(folder.File("model"));
        var texts = TinyEncoder.WriteLabelled(folder.File("texts.tsv"), 40);
        string[] Train(string name) =>
            ["finetune", model, "--task", "classification", "--data", texts, "--steps", "40", "--checkpoint-every", "1", "--threads", "1", "-o", folder.File(name)];
        var whole = await ChildProcess.Run(folder.Path, Train("whole"));
        Assert.True(whole.ExitCode == ExitCode.Done, whole.Error);
        foreach (var (signal, step) in ((int, string)[])[(ChildProcess.Kill, "train 1/"), (ChildProcess.Interrupt, "train ")])
        {
            using var child = ChildProcess.Start(folder.Path, Train("out"));
            await child.ReadErrorUntil(step);
            child.Signal(signal);
            var (_, error) = await child.Finish();
            if (signal == ChildProcess.Interrupt)
            {
                Assert.Equal(ExitCode.Cancelled, child.ExitCode);
                Assert.Contains("the same command resumes from there", error, StringComparison.Ordinal);
            }

            Assert.False(Directory.Exists(folder.File("out")));
        }

        var resumed = await ChildProcess.Run(folder.Path, Train("out"));
        Assert.True(resumed.ExitCode == ExitCode.Done, resumed.Error);
        Assert.Equal(TemporaryFolder.Contents(folder.File("whole")), TemporaryFolder.Contents(folder.File("out")));
    }

    [Fact]
    public async Task DataMayComeThroughAPipe()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "makes a pipe by mkfifo");
        var model = TinyEncoder.WriteEmbedder(folder.File("model"));
        var texts = TinyEncoder.WriteLabelled(folder.File("texts.tsv"), 16);
        foreach (var line in (string[][])
        [
            ["finetune", "--steps", "2", "-o", folder.File("tuned")],
            ["compare", "--eval-data", texts, "--bits", "8", "--steps", "1", "-o", folder.File("compared")],
        ])
        {
            var pipe = folder.File($"pipe-{line[0]}");
            using (var made = System.Diagnostics.Process.Start("mkfifo", pipe))
            {
                await made.WaitForExitAsync(TestContext.Current.CancellationToken);
            }

            var bytes = await File.ReadAllBytesAsync(texts, TestContext.Current.CancellationToken);
            var writing = Task.Run(() => File.WriteAllBytes(pipe, bytes), TestContext.Current.CancellationToken);
            await CommandRun.Succeeds([line[0], model, "--task", "classification", "--data", pipe, "--threads", "1", .. line[1..]]);
            await writing;
        }

        Assert.Equal(3, ClassLabels.Of(await File.ReadAllTextAsync(folder.File("tuned/config.json"), TestContext.Current.CancellationToken)).Names.Count);
    }

    [Theory]
    [InlineData("bert", "good film\tbad films w12")]
    [InlineData("roberta", "good film\tbad films w12")]
    [InlineData("distilbert", "good film bad films w12")]
    public async Task TextsThatAreCutAreCounted(string type, string text)
    {
        var model = new TinyBert(type).Write(folder.File("model"));
        var data = folder.File("texts.tsv");
        File.WriteAllLines(data, Enumerable.Range(0, 8).Select(i => (i % 2 == 0 ? text : text.Replace(" w12", string.Empty, StringComparison.Ordinal)) + $"\t{i % 3}"));
        var length = type == "distilbert" ? 7 : 8;
        var note = $"4 of the 8 texts of texts.tsv are longer than {length} tokens and were cut";
        foreach (var line in (string[][])
        [
            ["finetune", model, "--data", data, "--steps", "1", "-o", folder.File("tuned")], ["eval", model, "--data", data],
            ["ptq", model, "--recipe", "w4a8-static", "--data", data, "-o", folder.File("ptq")],
            ["qat", model, "--recipe", "w4a8-static", "--data", data, "--steps", "1", "-o", folder.File("qat")],
        ])
        {
            var run = await CommandRun.Succeeds([.. line, "--max-length", $"{length}", "--threads", "1"]);
            Assert.Contains(note, run.Error, StringComparison.Ordinal);
        }

        if (type != "distilbert")
        {
            var narrow = await CommandRun.Of("eval", model, "--data", data, "--max-length", "4", "--threads", "1");
            Assert.Equal(ExitCode.BadInput, narrow.ExitCode);
            Assert.Contains("the special tokens of a pair take 3; expected at least 5", narrow.Error, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task ARegressorIsTrainedQuantizedComparedAndAdvised()
    {
        var pairs = TinyEncoder.WritePairs(folder.File("pairs.tsv"), 48);
        string[] once = ["--threads", "1"];
        await CommandRun.Succeeds(
            ["finetune", TinyEncoder.WriteEmbedder(folder.File("model")), "--task", "regression", "--data", pairs, "--steps", "8", "-o", folder.File("float"), .. once]);
        var score = await CommandRun.Succeeds(["eval", folder.File("float"), "--data", pairs, "--json", .. once]);
        Assert.Equal("regression", score.Json.GetProperty("task").GetString());
        Assert.InRange(score.Metric("spearman"), -1, 1);
        await CommandRun.Succeeds(
            ["ptq", folder.File("float"), "--recipe", "w4a8-static-gptq", "--data", pairs, "-o", folder.File("ptq"), .. once]);
        await CommandRun.Succeeds(["qat", folder.File("float"), "--recipe", "w4a8-static", "--data", pairs, "--steps", "2", "-o", folder.File("qat"), .. once]);
        await CommandRun.Succeeds(["export", folder.File("qat"), "--to", "onnx", "-o", folder.File("qat.onnx")]);
        await CommandRun.Succeeds(["verify", folder.File("qat"), "--file", folder.File("qat.onnx"), "--data", pairs, .. once]);

        var compared = await CommandRun.Succeeds(
            ["compare", folder.File("float"), "--data", pairs, "--eval-data", pairs, "--bits", "4", "--steps", "2", "--json", .. once]);
        Assert.Equal(("regression", "points"), (compared.Json.GetProperty("task").GetString(), compared.Json.GetProperty("lossUnit").GetString()));
        string[] study = ["--bits", "2,4", "--algorithm", "rtn", "--cache", folder.File("cache")];
        var measured = await CommandRun.Succeeds(["sensitivity", folder.File("float"), "--data", pairs, .. study, "--json", .. once]);
        Assert.Equal("regression", measured.Json.GetProperty("task").GetString());
        await CommandRun.Succeeds(
            ["mix", folder.File("float"), "--data", pairs, .. study, "--budget", "3bits", "--rounds", "1", "--points", "1", "-o", folder.File("mixed.yaml"), .. once]);
        var advice = await CommandRun.Succeeds(
            ["advise", folder.File("float"), "--data", pairs, "--bits", "8", "--steps", "2", "--probe-minutes", "1", .. once]);
        Assert.DoesNotContain("perplexity", advice.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("NaN", advice.Output, StringComparison.Ordinal);
    }
}
