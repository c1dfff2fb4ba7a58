namespace Nibble.Cli.Tests.Commands;

/// <summary>Options of <c>qat</c> that recipes have too, its dry run and its curves.</summary>
[Collection(OneAtATime.Name)]
public sealed class QatOptionsTests : IDisposable
{
    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task OptionsDoWhatTheRecipesSettingsDo()
    {
        var recipe = folder.Write(
            "mine.yaml", "preset: w4a16-g8\nname: w4a16-g8\nqat: { steps: 2, batchSize: 4, sequenceLength: 8, accumulation: 2, gradientClip: 0.1 }\n");
        await CommandRun.Succeeds("qat", folder.Model, "-r", recipe, "-d", folder.TrainingText, "-o", folder.At("byRecipe"));
        await CommandRun.Succeeds([.. Arguments("byOption"), "--batch-size", "4", "--length", "8", "--accumulation", "2", "--gradient-clip", "0.1"]);

        Assert.Equal(await Weights("byRecipe"), await Weights("byOption"));
    }

    [Fact]
    public async Task PartsThatDoNotDivideTheBatchAreAWrongUsage()
    {
        var run = await CommandRun.Of([.. Arguments("out"), "--batch-size", "4", "--accumulation", "3"]);

        Assert.Equal(ExitCode.Usage, run.ExitCode);
        Assert.Contains("--accumulation is 3, expected a divisor of the batch size 4", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ADryRunTellsWhatTheRunWritesAndWritesNothing()
    {
        var before = Directory.EnumerateFileSystemEntries(folder.Root, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal).ToList();
        var run = await CommandRun.Succeeds([.. Arguments("out"), "--dry-run", "--json"]);
        var after = Directory.EnumerateFileSystemEntries(folder.Root, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal).ToList();
        var quantized = await CommandRun.Succeeds([.. Arguments("out"), "--json"]);

        Assert.Equal(before, after);
        Assert.Equal("nibble.estimate/1", run.Json.GetProperty("schema").GetString());
        Assert.Equal(quantized.Json.GetProperty("layers").GetInt32(), run.Json.GetProperty("layers").GetInt32());
        Assert.Equal(quantized.Json.GetProperty("warnings").ToString(), run.Json.GetProperty("warnings").ToString());
        Assert.InRange(run.Json.GetProperty("bytes").GetInt64(), 1, new FileInfo(Path.Combine(folder.At("out"), "model.safetensors")).Length);
        Assert.True(run.Json.GetProperty("diskBytes").GetInt64() > 0);
        Assert.True(run.Json.GetProperty("seconds").GetDouble() > 0);
    }

    [Fact]
    public async Task ADryRunNeedsData() => Assert.Equal(
        ExitCode.Usage, (await CommandRun.Of("qat", folder.Model, "-r", "w4a16-g8", "-d", "self", "-o", folder.At("out"), "--dry-run")).ExitCode);

    [Fact]
    public async Task CurvesAreWrittenStepByStep()
    {
        await CommandRun.Succeeds([.. Arguments("out"), "--log-dir", folder.At("logs")]);

        var lines = await File.ReadAllLinesAsync(folder.At("logs/losses.csv"), TestContext.Current.CancellationToken);
        Assert.Equal("step,loss,perplexity,held_out_loss", lines[0]);
        Assert.Equal(["1", "2"], lines[1..].Select(line => line.Split(',')[0]));
        Assert.All(lines[1..], line => Assert.True(double.Parse(line.Split(',')[1], System.Globalization.CultureInfo.InvariantCulture) > 0));
        Assert.NotEmpty(Directory.GetFiles(folder.At("logs"), "events.out.tfevents.*"));
    }

    private string[] Arguments(string output) =>
        ["qat", folder.Model, "-r", "w4a16-g8", "-d", folder.TrainingText, "--steps", "2", "-o", folder.At(output)];

    private Task<byte[]> Weights(string name) =>
        File.ReadAllBytesAsync(Path.Combine(folder.At(name), "model.safetensors"), TestContext.Current.CancellationToken);
}
