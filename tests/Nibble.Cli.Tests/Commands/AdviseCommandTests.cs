using System.Text.Json;
using Nibble.Tests.Shared;

namespace Nibble.Cli.Tests.Commands;

[Collection(OneAtATime.Name)]
public sealed class AdviseCommandTests : IDisposable
{
    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task AnswersWithARecommendationItsCommandAndTheRest()
    {
        var run = await CommandRun.Succeeds(Arguments("--bits", "8,4", "--steps", "20", "--json", "-o", folder.At("out")));

        var document = run.Json;
        Assert.Equal("nibble.advise/2", document.GetProperty("schema").GetString());
        var recommendation = document.GetProperty("recommendation");
        Assert.Contains(recommendation.GetProperty("method").GetString(), (string[])["ptq", "qat", "hybrid"]);
        Assert.StartsWith($"nibble {recommendation.GetProperty("method").GetString()} {folder.Model} --recipe "
            + $"{recommendation.GetProperty("recipe").GetString()}", recommendation.GetProperty("command").GetString(), StringComparison.Ordinal);
        var options = document.GetProperty("options").EnumerateArray().ToList();
        Assert.Equal(10, options.Count);
        Assert.Equal(recommendation.GetProperty("name").GetString(), options[0].GetProperty("name").GetString());
        Assert.All(options, option =>
        {
            var loss = option.GetProperty("loss");
            Assert.InRange(loss.GetProperty("value").GetDouble(), loss.GetProperty("low").GetDouble(), loss.GetProperty("high").GetDouble());
            Assert.True(option.GetProperty("seconds").GetDouble() > 0);
            Assert.True(option.GetProperty("bytes").GetInt64() < document.GetProperty("bytes").GetInt64());
        });
        Assert.Equal(JsonValueKind.Null, document.GetProperty("nearest").ValueKind);
        Assert.Equal(2, document.GetProperty("widths").GetArrayLength());
        Assert.Equal([7, 7], document.GetProperty("sensitivity").EnumerateArray().CountBy(layer => layer.GetProperty("change").GetString()!)
            .Select(change => change.Value));
        Assert.Equal(run.Output.Trim(),
            (await File.ReadAllTextAsync(Path.Combine(folder.At("out"), "advise.json"), TestContext.Current.CancellationToken)).Trim());
        var report = await File.ReadAllTextAsync(Path.Combine(folder.At("out"), "report.html"), TestContext.Current.CancellationToken);
        string[] parts = ["<h1>", "<code>nibble ", "Loss over size", "class=\"heat\"", "<h2>Options</h2>", "Cost of each method"];
        Assert.Equal(parts, parts.OrderBy(part => report.IndexOf(part, StringComparison.Ordinal)));
        Assert.All(parts, part => Assert.Contains(part, report, StringComparison.Ordinal));

        File.Delete(Path.Combine(folder.At("out"), "report.html"));
        await CommandRun.Succeeds("report", folder.At("out"));
        Assert.Equal(report, await File.ReadAllTextAsync(Path.Combine(folder.At("out"), "report.html"), TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task TheCommandsOfOptionsRun()
    {
        var run = await CommandRun.Succeeds(Arguments(
            "--data", folder.EvaluationText, "--bits", "4", "--activations", "8", "--steps", "2", "--calibration-tokens", "100", "--json"));

        var commands = run.Json.GetProperty("options").EnumerateArray().Select(option => option.GetProperty("command").GetString()!).ToList();
        Assert.Contains(commands,
            command => command.Contains("gptaq", StringComparison.Ordinal) && command.Contains("--windows 1 --length 64", StringComparison.Ordinal));
        Assert.Contains(
            commands, command => command.Contains($"--data {folder.TrainingText} --data {folder.EvaluationText} ", StringComparison.Ordinal));
        foreach (var command in commands)
        {
            var words = command.Split(' ');
            words[^1] = folder.At(words[^1]);
            await CommandRun.Succeeds([.. words.Skip(1)]);
        }
    }

    [Fact]
    public async Task ASignalCancelsWith130AndLeavesNothingBehind()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "sends POSIX signals, with GNU env to reset inherited ones");
        var before = folder.Content();
        using var process = ChildProcess.Start(
            folder.Root, Arguments("--bits", "4", "--steps", "1000000", "-o", folder.At("out")), new() { ["TMPDIR"] = folder.Root });
        await process.ReadErrorUntil("float control");
        process.Signal(ChildProcess.Interrupt);
        var (output, error) = await process.Finish();

        Assert.Equal(ExitCode.Cancelled, process.ExitCode);
        Assert.Empty(output);
        Assert.EndsWith("nibble: cancelled; nothing was written", error.TrimEnd(), StringComparison.Ordinal);
        Assert.Equal(before, folder.Content());
    }

    [Fact]
    public async Task ConstraintsThatNothingSatisfiesNameTheNearestOption()
    {
        var run = await CommandRun.Of(Arguments("--bits", "4", "--memory", "1", "--no-training-data", "--json"));

        Assert.Equal(ExitCode.NoSolution, run.ExitCode);
        Assert.Equal(JsonValueKind.Null, run.Json.GetProperty("recommendation").ValueKind);
        var nearest = run.Json.GetProperty("nearest");
        Assert.Equal("ptq", nearest.GetProperty("method").GetString());
        Assert.Contains("memory", nearest.GetProperty("reasons")[0].GetString(), StringComparison.Ordinal);
        Assert.Contains("nearest", run.Json.GetProperty("headline").GetString(), StringComparison.Ordinal);
        Assert.All(run.Json.GetProperty("options").EnumerateArray(), option => Assert.False(option.GetProperty("allowed").GetBoolean()));
    }

    [Fact]
    public async Task ATextThatTheFloatModelDoesNotFitAsksForTraining()
    {
        var run = await CommandRun.Succeeds(Arguments("--bits", "8", "--steps", "100000", "--json"));

        var recommendation = run.Json.GetProperty("recommendation");
        Assert.Equal(("qat", "extrapolated"), (recommendation.GetProperty("method").GetString(), recommendation.GetProperty("evidence").GetString()));
        var width = run.Json.GetProperty("widths")[0];
        Assert.Equal("textIsNew", width.GetProperty("verdict").GetString());
        Assert.Contains("the float model does not fit this text", width.GetProperty("text").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task PeopleAreToldTheNearestOptionToo()
    {
        var run = await CommandRun.Of(Arguments("--bits", "4", "--engine", "llama.cpp", "--group-size", "16", "--no-training-data", "-o", folder.At("out")));

        Assert.Equal(ExitCode.NoSolution, run.ExitCode);
        Assert.Contains("No option meets these constraints; the nearest is ptq w4a16-g16", run.Output, StringComparison.Ordinal);
        Assert.Contains("llama.cpp cannot run it: its exact blocks hold 4 or 5 bits", run.Output, StringComparison.Ordinal);
        Assert.Contains("No option meets these constraints",
            await File.ReadAllTextAsync(Path.Combine(folder.At("out"), "report.html"), TestContext.Current.CancellationToken), StringComparison.Ordinal);
    }

    [Fact]
    public async Task WithoutTextToCalibrateOnOnlyWhatNeedsNoneIsAllowed()
    {
        var run = await CommandRun.Succeeds("advise", folder.Model, "--eval-data", folder.EvaluationText, "--bits", "4", "--windows", "2", "--json");

        var allowed = run.Json.GetProperty("options").EnumerateArray().Where(option => option.GetProperty("allowed").GetBoolean())
            .Select(option => option.GetProperty("name").GetString());
        Assert.Equal(["ptq w4a16-g32", "ptq w4a16-g32-mse"], allowed.Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task AMixedRecipeOfAFileIsAnOption()
    {
        var recipe = folder.Write("mixed.yaml", """
            name: mixed
            rules:
              - { pattern: lm_head, weights: float }
              - { pattern: "*.down_proj", weights: { bits: 8, symmetric: false, granularity: group, groupSize: 32 } }
              - { pattern: "*", weights: { bits: 3, symmetric: false, granularity: group, groupSize: 32 } }
            """);

        var run = await CommandRun.Succeeds(Arguments("--bits", "8", "--no-training-data", "--recipes", recipe, "--json"));

        var mixed = run.Json.GetProperty("options").EnumerateArray().Single(option => option.GetProperty("recipe").GetString() == "mixed");
        Assert.Equal(("ptq", "measured", 3),
            (mixed.GetProperty("method").GetString(), mixed.GetProperty("evidence").GetString(), mixed.GetProperty("bits").GetInt32()));
        Assert.Contains($"--recipe {recipe}", mixed.GetProperty("command").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task SpeaksToPeopleToo()
    {
        var run = await CommandRun.Succeeds(Arguments("--bits", "4", "--no-training-data"));

        Assert.Contains("PTQ is enough: w4a16-g32", run.Output, StringComparison.Ordinal);
        Assert.Contains("4 bits: ptq w4a16-g32", run.Output, StringComparison.Ordinal);
        Assert.Contains("Most sensitive layers at 4 bits: ", run.Output, StringComparison.Ordinal);
        Assert.Contains("ruled out: qat w4a16-g32 there is no text to train on", run.Output, StringComparison.Ordinal);
        Assert.Contains("data and limits: train.txt", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task CostsOfKnownSizesFollowTheFiguresGiven()
    {
        var (fast, slow) = (await Seconds("100"), await Seconds("50"));

        Assert.Equal(["ptq, 4 bits, round to nearest", "ptq, 4 bits, gptq", "ptq, 4 bits, gptaq", "qat, 300 steps"], fast.Keys);
        Assert.True(fast["qat, 300 steps"] < slow["qat, 300 steps"]);
        Assert.Equal(fast["ptq, 4 bits, round to nearest"], slow["ptq, 4 bits, round to nearest"]);

        static async Task<Dictionary<string, double>> Seconds(string flops)
        {
            var run = await CommandRun.Succeeds("advise", "--cost-of", "8B", "--flops", flops, "--bandwidth", "1000", "--json");
            Assert.Equal("nibble.cost/1", run.Json.GetProperty("schema").GetString());
            return run.Json.GetProperty("rows").EnumerateArray()
                .ToDictionary(row => row.GetProperty("method").GetString()!, row => row.GetProperty("seconds").GetDouble());
        }
    }

    [Fact]
    public async Task StoriesAt8BitsNeedNoTraining()
    {
        var run = await CommandRun.Succeeds(
            "advise", SharedData.Require("stories260K"), "--data", SharedData.Require("tinystories/train.txt"), "--eval-data",
            SharedData.Require("tinystories/valid.txt"), "--bits", "8", "--probe-minutes", "0.3", "--threads", "1", "--json");

        Assert.StartsWith("PTQ is enough", run.Json.GetProperty("headline").GetString(), StringComparison.Ordinal);
        Assert.Equal("ptq", run.Json.GetProperty("recommendation").GetProperty("method").GetString());
        Assert.Equal("ptqIsEnough", run.Json.GetProperty("widths")[0].GetProperty("verdict").GetString());
        Assert.True(run.Json.GetProperty("recommendation").GetProperty("loss").GetProperty("value").GetDouble() < 0.005);
    }

    [Fact]
    public async Task StoriesAt2BitsAreNotUsableWithoutTraining()
    {
        var run = await CommandRun.Succeeds(
            "advise", SharedData.Require("stories260K"), "--data", SharedData.Require("tinystories/train.txt"), "--eval-data",
            SharedData.Require("tinystories/valid.txt"), "--bits", "2", "--probe-minutes", "0.4", "--threads", "1", "--json");

        var width = run.Json.GetProperty("widths")[0];
        Assert.True(width.GetProperty("unusableWithoutTraining").GetBoolean());
        Assert.Contains("Not usable at 2 bits without training", width.GetProperty("text").GetString(), StringComparison.Ordinal);
        var plain = run.Json.GetProperty("options").EnumerateArray().Single(option => option.GetProperty("name").GetString() == "ptq w2a16-g32")
            .GetProperty("loss");
        Assert.InRange(plain.GetProperty("value").GetDouble(), 4, 5.2);
    }

    private string[] Arguments(params string[] more) =>
        ["advise", folder.Model, "--data", folder.TrainingText, "--eval-data", folder.EvaluationText, "--windows", "4", "--probe-minutes", "0.2", .. more];
}
