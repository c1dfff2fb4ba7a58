using System.Globalization;
using System.Text.Json;
using Nibble.Tests.Shared;

namespace Nibble.Cli.Tests.Documents;

/// <summary>The tables of ONNX files hold what benchmarks/onnx.sh measured.</summary>
public sealed class OnnxResultsTests
{
    private static readonly string Results = Repository.At("benchmarks", "results", "onnx");
    private static readonly string Page = File.ReadAllText(Repository.At("docs", "results", "onnx-files.md"));

    public static TheoryData<string> Models => ["resnet20", "resnet18", "mnist", "vit", "ocr", "yunet", "rfb", "minilm"];

    [Theory]
    [MemberData(nameof(Models))]
    public void TheRowOfAModelIsWhatWasMeasured(string model)
    {
        var cells = ((string[])["static", "dynamic", "weights"]).Select(tried =>
        {
            var result = Read($"{model}-{tried}");
            var isIdle = result.GetProperty("nodes").EnumerateArray().All(node => node.GetProperty("kept").ValueKind != JsonValueKind.Null)
                && result.GetProperty("bytes").GetInt64() >= result.GetProperty("sourceBytes").GetInt64() * 0.99;
            return isIdle ? "–" : string.Create(CultureInfo.InvariantCulture, $"{Error(result)}, {Ratio(result):F2}");
        });
        var chosen = Read($"{model}-auto");
        var mode = chosen.GetProperty("mode").GetString();
        var trial = chosen.GetProperty("trials").EnumerateArray().First(trial => trial.GetProperty("mode").GetString() == mode);
        var idle = trial.TryGetProperty("isIdle", out var flag) && flag.GetBoolean();
        var size = string.Create(CultureInfo.InvariantCulture,
            $"{(double)chosen.GetProperty("sourceBytes").GetInt64() / chosen.GetProperty("bytes").GetInt64():F1}");
        var row = $"| {string.Join(" | ", cells)} | {(idle ? "none" : mode)} | {size} |";

        Assert.Contains(Page.Split('\n'), line => line.EndsWith(row, StringComparison.Ordinal) && line.Contains($"`{model}`", StringComparison.Ordinal));

        // The default is never slower than float, but for what single runs differ by.
        Assert.InRange(Ratio(chosen), 0.95, 10);
    }

    [Theory]
    [InlineData("resnet20")]
    [InlineData("resnet18")]
    [InlineData("vit")]
    [InlineData("yunet")]
    [InlineData("mnist")]
    public void TheRowOfTheRulesIsWhatWasMeasured(string model)
    {
        foreach (var file in Read($"rules-{model}").GetProperty("files").EnumerateArray())
        {
            var row = string.Create(
                CultureInfo.InvariantCulture,
                $"| {file.GetProperty("rules").GetString()} | {file.GetProperty("integer").GetInt32()} | {file.GetProperty("floatProducts").GetInt32()} "
                + $"| {file.GetProperty("conversions").GetInt32()} | {Percent(file.GetProperty("error").GetDouble())} | {Ratio(file):F2} |");
            Assert.Contains(Page.Split('\n'), line => line == $"| `{model}` {row}");
        }
    }

    [Theory]
    [InlineData("resnet20-static", 1.5)]
    [InlineData("resnet18-static", 1.5)]
    [InlineData("minilm-dynamic", 1.3)]
    public void TheSpeedsOfTheGoalAreReached(string result, double least) => Assert.InRange(Ratio(Read(result)), least, 10);

    private static JsonElement Read(string name) => JsonDocument.Parse(File.ReadAllText(Path.Combine(Results, name + ".json"))).RootElement;

    private static double Ratio(JsonElement result) => result.GetProperty("timing").GetProperty("ratio").GetDouble();

    private static string Error(JsonElement result) =>
        Percent(result.GetProperty("outputs").EnumerateArray().Max(output => output.GetProperty("relativeError").GetDouble()));

    private static string Percent(double error) => string.Create(CultureInfo.InvariantCulture, $"{error * 100:F1} %");
}
