using System.Text.Json;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Cli.Tests.Commands;

/// <summary>Comparisons of encoders.</summary>
[Collection(OneAtATime.Name)]
public sealed class EncoderCompareTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task AClassifierIsJudgedByItsAccuracy()
    {
        var model = TinyEncoder.WriteClassifier(folder.File("model"));
        var run = await CommandRun.Succeeds([.. Compare(model, "--bits", "8,2", "--epochs", "0.5"), "--json", "-o", folder.File("out")]);

        Assert.Equal(
            ("nibble.compare/2", "classification", "points"),
            (Text(run.Json, "schema"), Text(run.Json, "task"), Text(run.Json, "lossUnit")));
        Assert.Equal((64, "texts"), (run.Json.GetProperty("training").GetProperty("count").GetInt32(), Text(run.Json.GetProperty("training"), "unit")));
        Assert.Equal((40, "texts"), (run.Json.GetProperty("evaluation").GetProperty("count").GetInt32(), Text(run.Json.GetProperty("evaluation"), "unit")));
        Assert.Equal(JsonValueKind.Null, run.Json.GetProperty("fineTuning").ValueKind);
        var runs = run.Json.GetProperty("runs").EnumerateArray().ToDictionary(item => Text(item, "name"));
        Assert.Equal(
            ["float control", "ptq w2a8-static-mse-gptaq", "ptq w8a8-static-mse-gptaq", "qat w2a8-static-mse", "qat w8a8-static-mse"],
            runs.Keys.Order(StringComparer.Ordinal));
        var baseline = run.Json.GetProperty("baseline").GetProperty("quality").GetDouble();
        Assert.All(runs, item =>
        {
            var accuracy = item.Value.GetProperty("metrics").GetProperty("accuracy").GetDouble();
            Assert.Equal(100 * (baseline - accuracy), item.Value.GetProperty("lossDifference").GetDouble(), 1e-9);
            Assert.InRange(item.Value.GetProperty("agreement").GetDouble(), 0, 1);
        });

        // The head of the classifier stays float, and so do the tables.
        Assert.Contains("classifier", runs["ptq w8a8-static-mse-gptaq"].GetProperty("kept").EnumerateArray().Select(layer => Text(layer, "name")));

        // What is measured is what ships.
        var artifact = await CommandRun.Succeeds(
            "eval", folder.File("out/qat-w8a8-static-mse"), "--data", folder.File("eval.tsv"), "--threads", "1", "--json");
        Assert.Equal(runs["qat w8a8-static-mse"].GetProperty("quality").GetDouble(), artifact.Metric("accuracy"));
        Assert.False(Path.Exists(folder.File("out.job")));
        Assert.False(Path.Exists(folder.File("out/float-control")));
    }

    [Fact]
    public async Task ACheckpointWithoutAHeadIsTrainedFirst()
    {
        var model = TinyEncoder.WriteEmbedder(folder.File("encoder"));
        var run = await CommandRun.Succeeds([.. Compare(model, "--task", "classification", "--bits", "4", "--steps", "2"), "-o", folder.File("out")]);

        Assert.Contains("the checkpoint has no classifier for this task; it is initialized randomly with seed 1", run.Error, StringComparison.Ordinal);
        Assert.Matches("about .* in total: fine-tuning .*, PTQ .*, training .*, scoring .*; if interrupted, the same command resumes", run.Error);
        Assert.Contains("accuracy", run.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("perplexity", run.Output, StringComparison.Ordinal);
        var report = await File.ReadAllTextAsync(folder.File("out/report.html"), TestContext.Current.CancellationToken);
        Assert.Contains("the float model was first trained for the task: 6 steps of 32 texts", report, StringComparison.Ordinal);
        Assert.DoesNotContain("perplexity", report, StringComparison.OrdinalIgnoreCase);
        var score = await CommandRun.Succeeds(
            "eval", folder.File("out/encoder-classification"), "--data", folder.File("eval.tsv"), "--threads", "1", "--json");
        using var document = JsonDocument.Parse(await File.ReadAllTextAsync(folder.File("out/compare.json"), TestContext.Current.CancellationToken));
        Assert.Equal(document.RootElement.GetProperty("baseline").GetProperty("quality").GetDouble(), score.Metric("accuracy"));
    }

    [Fact]
    public async Task AnEmbeddingModelLearnsFromItselfAndHasNoControl()
    {
        var model = TinyEncoder.WriteEmbedder(folder.File("model"));
        var train = TinyEncoder.WriteTexts(folder.File("train.tsv"), 64);
        var eval = TinyEncoder.WritePairs(folder.File("eval.tsv"), 12);
        var run = await CommandRun.Succeeds(
            "compare", model, "--task", "embedding", "--data", train, "--eval-data", eval, "--bits", "4", "--steps", "2", "--threads", "1", "-o",
            folder.File("out"));

        Assert.Contains("Spearman", run.Output, StringComparison.Ordinal);
        Assert.Contains("cosine", run.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("float control", run.Output, StringComparison.Ordinal);
        using var document = JsonDocument.Parse(await File.ReadAllTextAsync(folder.File("out/compare.json"), TestContext.Current.CancellationToken));
        var quantized = document.RootElement.GetProperty("runs")[0];
        Assert.Equal(1 - quantized.GetProperty("agreement").GetDouble(), quantized.GetProperty("divergence").GetDouble(), 1e-9);
        Assert.Contains("QAT learned only from the float model, without labels", Text(document.RootElement.GetProperty("advice"), "summary"),
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("--context", "64")]
    [InlineData("--prompt", "Once")]
    public async Task WhatOnlyALanguageModelHasIsRefused(string option, string value)
    {
        var run = await CommandRun.Of([.. Compare(TinyEncoder.WriteClassifier(folder.File("model"))), option, value]);

        Assert.Equal(ExitCode.Usage, run.ExitCode);
        Assert.Contains($"{option} has no effect here", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AnInterruptedComparisonResumesAndEndsAsOneThatWasNot()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "sends POSIX signals, with GNU env to reset inherited ones");
        var model = TinyEncoder.WriteEmbedder(folder.File("encoder"));
        string[] command = [.. Compare(model, "--task", "classification", "--bits", "4", "--steps", "300"), "--json"];
        using (var process = ChildProcess.Start(folder.Path, [.. command, "-o", folder.File("out")]))
        {
            await process.ReadErrorUntil("qat w4a8-static-mse: train ");
            process.Signal(ChildProcess.Interrupt);
            var (_, error) = await process.Finish();
            Assert.Equal(ExitCode.Cancelled, process.ExitCode);
            Assert.EndsWith("cancelled; finished work is kept, and the same command resumes from there (--restart starts over)", error.TrimEnd(),
                StringComparison.Ordinal);
            Assert.False(Path.Exists(folder.File("out")));
        }

        var other = await CommandRun.Of([.. Compare(model, "--task", "classification", "--bits", "4", "--steps", "301"), "-o", folder.File("out")]);
        Assert.Equal(ExitCode.BadInput, other.ExitCode);
        Assert.Contains("another job", other.Error, StringComparison.Ordinal);

        var resumed = await CommandRun.Succeeds([.. command, "-o", folder.File("out")]);
        Assert.DoesNotContain("float control: train", resumed.Error, StringComparison.Ordinal);
        var whole = await CommandRun.Succeeds([.. command, "-o", folder.File("whole")]);
        foreach (var file in Directory.EnumerateFiles(folder.File("whole"), "*.safetensors", SearchOption.AllDirectories))
        {
            var path = Path.GetRelativePath(folder.File("whole"), file);
            Assert.Equal(await File.ReadAllBytesAsync(file, TestContext.Current.CancellationToken),
                await File.ReadAllBytesAsync(Path.Combine(folder.File("out"), path), TestContext.Current.CancellationToken));
        }

        Assert.Equal(Measured(whole.Json), Measured(resumed.Json));
    }

    /// <summary>What a comparison has measured, without times and memory.</summary>
    private static List<string> Measured(JsonElement document) =>
        [.. document.GetProperty("runs").EnumerateArray()
            .Select(run => $"{Text(run, "name")} {run.GetProperty("quality")} {run.GetProperty("divergence")} {run.GetProperty("bytes")}")];

    private string[] Compare(string model, params string[] more) =>
    [
        "compare", model, "--data", TinyEncoder.WriteLabelled(folder.File("train.tsv"), 64), "--eval-data",
        TinyEncoder.WriteLabelled(folder.File("eval.tsv"), 40), "--threads", "1", .. more,
    ];

    private static string Text(JsonElement element, string name) => element.GetProperty(name).GetString()!;
}
