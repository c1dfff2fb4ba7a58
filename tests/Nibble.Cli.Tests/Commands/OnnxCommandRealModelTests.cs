using Nibble.Tests.Shared;

namespace Nibble.Cli.Tests.Commands;

/// <summary>A real model on real text, in ONNX Runtime and simulated.</summary>
[Collection(OneAtATime.Name)]
public sealed class OnnxCommandRealModelTests : IDisposable
{
    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData(null, 1e-3)]
    [InlineData("w4a16-g32", 1e-3)]
    [InlineData("w4a8-g32", null)]
    [InlineData("w8a8", null)]
    [InlineData("w8a8-static", null)]
    public async Task Stories260KIsTheSameInOnnxruntime(string? recipe, double? largestDifference)
    {
        var model = SharedData.Require("stories260K");
        if (recipe is not null)
        {
            await CommandRun.Succeeds(
                "ptq", model, "--recipe", recipe, "--data", SharedData.Require("tinystories/train.txt"), "--output", folder.At("stories"));
            model = folder.At("stories");
        }

        var run = await CommandRun.Succeeds(
            "verify", model, "--data", SharedData.Require("tinystories/valid.txt"), "--engine", "onnxruntime", "--context", "256", "--windows", "12", "--json");
        double Number(string name) => run.Json.GetProperty(name).GetDouble();
        Assert.Equal("same", run.Json.GetProperty("verdict").GetString());
        Assert.InRange(Number("enginePerplexity") / Number("simulatedPerplexity"), 0.995, 1.005);
        if (largestDifference is { } largest)
        {
            Assert.InRange(Number("largestDifference"), 0, largest);
            Assert.Equal(64, Number("sameGreedyTokens"));
        }
        else
        {
            var ties = run.Json.GetProperty("ties");
            Assert.True(ties.GetProperty("sameLogits").GetBoolean());
            Assert.True(ties.GetProperty("codes").GetInt64() > 1_000_000);
            Assert.Equal(0, ties.GetProperty("mismatches").GetInt64());
            Assert.InRange(ties.GetProperty("largestDifference").GetDouble(), 0, 1e-2);

            // With ties decided as either likes: no farther from the simulation than it is from itself, give or take what few windows show.
            Assert.InRange(Number("kl"), 0, Math.Max(10 * Number("ownKl"), 0.01));
            Assert.InRange(Number("agreement"), 0.95, 1);
        }
    }
}
