using Nibble.Formats.CompressedTensors;
using Nibble.Recipes;
using Nibble.Tests.Shared;

namespace Nibble.Cli.Tests.Commands;

/// <summary><c>sensitivity</c> and <c>mix</c>, and what <c>ptq</c> makes of the recipe.</summary>
[Collection(OneAtATime.Name)]
public sealed class MixCommandTests : IDisposable
{
    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task SensitivityMeasuresOnceAndWritesTheSameAgain()
    {
        var first = await CommandRun.Succeeds(Study("sensitivity", "--bits", "2,4", "--activations", "4", "-o", folder.At("first"), "--json"));
        var second = await CommandRun.Succeeds(Study("sensitivity", "--bits", "2,4", "--activations", "4", "-o", folder.At("second"), "--json"));

        Assert.Equal(first.Output, second.Output);
        Assert.Equal(TinyFolder.ContentOf(folder.At("first")), TinyFolder.ContentOf(folder.At("second")));
        Assert.Contains("22 new measurements", first.Error, StringComparison.Ordinal);
        Assert.Contains("0 new measurements", second.Error, StringComparison.Ordinal);
        var document = first.Json;
        Assert.Equal(21, document.GetProperty("layers").GetArrayLength());
        Assert.Equal(["w2a16-g32-gptaq", "w4a16-g32-gptaq"],
            document.GetProperty("correlations").EnumerateArray().Select(item => item.GetProperty("change").GetString()));
        var report = await File.ReadAllTextAsync(Path.Combine(folder.At("first"), "report.html"), TestContext.Current.CancellationToken);
        Assert.Contains("class=\"heat\"", report, StringComparison.Ordinal);
        Assert.Contains("self_attn.q_proj", report, StringComparison.Ordinal);
    }

    [Fact]
    public async Task SensitivityShowsATableToPeople()
    {
        var run = await CommandRun.Succeeds(Study("sensitivity", "--bits", "2", "--algorithm", "rtn"));

        Assert.Contains("w2a16-g32-rtn", run.Output, StringComparison.Ordinal);
        Assert.Contains("rank correlation with the measured divergence", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task MixWritesARecipeThatPtqObeysAndAReport()
    {
        var run = await CommandRun.Succeeds(
            Study("mix", "--budget", "3bits", "--bits", "2,3,4", "--algorithm", "rtn,gptq", "--rounds", "1", "--points", "2", "-o", folder.At("mixed.yaml"),
            "--json"));
        await CommandRun.Succeeds("ptq", folder.Model, "-r", folder.At("mixed.yaml"), "-d", folder.TrainingText, "-o", folder.At("out"), "--length", "16");

        var chosen = run.Json.GetProperty("chosen");
        var recipe = RecipeFile.Load(folder.At("mixed.yaml"));
        var layers = QuantizedModelFile.Load(folder.At("out")).Layers;
        Assert.Equal(7, layers.Count);
        Assert.All(layers, layer => Assert.Equal(recipe.RuleFor(layer.Name)!.Weights, layer.Weight.Scheme));
        Assert.Equal(
            chosen.GetProperty("averageBits").GetDouble(),
            layers.Sum(layer => (double)layer.Weight.Codes.Length * layer.Weight.Scheme.Bits) / layers.Sum(layer => layer.Weight.Codes.Length),
            1e-9);
        Assert.InRange(chosen.GetProperty("averageBits").GetDouble(), 2, 3);
        Assert.Equal(6, run.Json.GetProperty("uniform").GetArrayLength());
        Assert.Equal(["lm_head", "model.embed_tokens"], run.Json.GetProperty("kept").EnumerateArray().Select(item => item.GetProperty("name").GetString()));
        Assert.Contains(run.Json.GetProperty("warnings").EnumerateArray(), item =>
            item.GetString()!.StartsWith("groups of 32 do not divide the ", StringComparison.Ordinal));
        Assert.Contains("The front", await File.ReadAllTextAsync(folder.At("mixed.html"), TestContext.Current.CancellationToken), StringComparison.Ordinal);
    }

    [Fact]
    public async Task ABudgetThatNothingMeetsEndsWith4AndNamesTheNearest()
    {
        var run = await CommandRun.Of(
            Study("mix", "--budget", "1.5bits", "--bits", "2,3", "--algorithm", "rtn", "--rounds", "0", "--points", "0", "-o", folder.At("mixed.yaml")));

        Assert.Equal(ExitCode.NoSolution, run.ExitCode);
        Assert.Contains("no recipe meets the budget of 1.5bits: the nearest has 2 bits on average", run.Error, StringComparison.Ordinal);
        Assert.False(File.Exists(folder.At("mixed.yaml")));
    }

    [Fact]
    public async Task GroupSizesAreChosenUnderABudgetOfBytesAlone()
    {
        var mixed = await CommandRun.Succeeds(
            Study("mix", "--budget", "100KB", "--bits", "2,3", "--group-size", "8,16", "--algorithm", "rtn", "--rounds", "0", "--points", "0", "-o",
            folder.At("mixed.yaml"), "--json"));
        var refused = await CommandRun.Of(Study("mix", "--budget", "3bits", "--group-size", "8,16", "-o", folder.At("other.yaml")));
        var wrong = await CommandRun.Of(Study("mix", "--budget", "3bits", "--group-size", "8,0", "-o", folder.At("other.yaml")));

        Assert.Equal(
            ["w2a16-g16-rtn", "w3a16-g16-rtn", "w2a16-g8-rtn", "w3a16-g8-rtn"],
            mixed.Json.GetProperty("uniform").EnumerateArray().Select(item => item.GetProperty("recipe").GetString()));
        Assert.Equal(ExitCode.BadInput, refused.ExitCode);
        Assert.Contains("do not depend on the group size", refused.Error, StringComparison.Ordinal);
        Assert.Contains("'0' is not a number of weights of at least 1, or is repeated", wrong.Error, StringComparison.Ordinal);
        Assert.False(File.Exists(folder.At("other.yaml")));
    }

    [Fact]
    public async Task MinutesOfTrainingYieldARecipeForQat()
    {
        var run = await CommandRun.Succeeds(
            Study("mix", "--budget", "2.5bits", "--bits", "2,3", "--algorithm", "rtn", "--rounds", "0", "--points", "0", "--qat-minutes", "0.15", "-o",
            folder.At("mixed.yaml"), "--json"));
        await CommandRun.Succeeds("qat", folder.Model, "-r", folder.At("mixed.yaml"), "-d", folder.TrainingText, "-o", folder.At("out"), "--steps", "2");

        // Divisions that a slow machine has no time for are left out.
        var methods = run.Json.GetProperty("methods").EnumerateArray().ToList();
        Assert.InRange(methods.Count, 2, 5);
        var (recipe, trained) = (RecipeFile.Load(folder.At("mixed.yaml")), methods[0].GetProperty("layers").GetInt32());
        Assert.Equal(trained > 0 ? methods[0].GetProperty("steps").GetInt32() : recipe.Qat.Steps, recipe.Qat.Steps);
        Assert.Equal(trained, QuantizedModelFile.Load(folder.At("out")).Layers.Count(layer => recipe.RuleFor(layer.Name)!.WeightMethod == Method.Qat));
        Assert.Contains("Which layers to train", await File.ReadAllTextAsync(folder.At("mixed.html"), TestContext.Current.CancellationToken),
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task ABudgetOfBytesNamesTheNearestToo()
    {
        var run = await CommandRun.Of(
            Study("mix", "--budget", "1KB", "--bits", "2,3", "--algorithm", "rtn", "--rounds", "0", "--points", "0", "-o", folder.At("mixed.yaml")));

        Assert.Equal(ExitCode.NoSolution, run.ExitCode);
        Assert.Contains("no recipe meets the budget of 1000B: the nearest has 2 bits on average and ", run.Error, StringComparison.Ordinal);
        Assert.Contains("with w2a16-g32-rtn for every layer", run.Error, StringComparison.Ordinal);
        Assert.False(File.Exists(folder.At("mixed.yaml")) || File.Exists(folder.At("mixed.html")));
    }

    [Fact]
    public async Task ABudgetOfLossNamesTheNearestToo()
    {
        var run = await CommandRun.Of(
            "mix", SharedData.Require("stories260K"), "--data", SharedData.Require("tinystories/valid.txt"), "--budget", "loss=0.1", "--bits", "2",
            "--algorithm", "rtn", "--context", "128", "--windows", "4",
            "--rounds", "1", "--points", "0", "--cache", folder.At("cache"), "-o", folder.At("mixed.yaml"));

        Assert.Equal(ExitCode.NoSolution, run.ExitCode);
        Assert.Contains("no recipe meets the budget of loss=0.1: the nearest loses ", run.Error, StringComparison.Ordinal);
        Assert.Contains("nats with w2a16-g32-rtn for every layer; raise the budget, allow higher bit widths or try another algorithm", run.Error,
            StringComparison.Ordinal);
        Assert.Empty(run.Output);
        Assert.False(File.Exists(folder.At("mixed.yaml")) || File.Exists(folder.At("mixed.html")));
    }

    [Fact]
    public async Task ASignalCancelsWith130AndLeavesOnlyTheMeasurements()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "sends POSIX signals, with GNU env to reset inherited ones");
        var before = folder.Content().Keys.ToList();
        string[] asked = Study("mix", "--budget", "3bits", "--bits", "2,3,4", "--algorithm", "rtn,gptq", "-o", folder.At("mixed.yaml"));
        using var process = ChildProcess.Start(folder.Root, [.. asked, "--rounds", "1000000", "--points", "0"], new() { ["TMPDIR"] = folder.Root });
        await process.ReadErrorUntil("measure ");
        process.Signal(ChildProcess.Interrupt);
        var (output, error) = await process.Finish();

        Assert.Equal(ExitCode.Cancelled, process.ExitCode);
        Assert.Empty(output);
        Assert.Contains("cancelled; finished measurements are kept, and the same command resumes from there", error, StringComparison.Ordinal);
        Assert.All(folder.Content().Keys.Except(before), path => Assert.StartsWith("cache", path, StringComparison.Ordinal));

        await CommandRun.Succeeds([.. asked, "--rounds", "0", "--points", "0"]);
        Assert.True(File.Exists(folder.At("mixed.yaml")));
    }

    [Fact]
    public async Task ARecipeThatExistsIsKept()
    {
        var run = await CommandRun.Of(Study("mix", "--budget", "3bits", "-o", folder.Write("mixed.yaml", "mine")));

        Assert.Equal(ExitCode.BadInput, run.ExitCode);
        Assert.Equal("mine", await File.ReadAllTextAsync(folder.At("mixed.yaml"), TestContext.Current.CancellationToken));
    }

    private string[] Study(string command, params string[] options) =>
        [command, folder.Model, "--data", folder.TrainingText, "--context", "16", "--windows", "4", "--cache", folder.At("cache"), .. options];
}
