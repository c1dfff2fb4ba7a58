using System.Text.Json;

namespace Nibble.Cli.Tests.Commands;

[Collection(OneAtATime.Name)]
public sealed class CompareCommandTests : IDisposable
{
    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task ComparesBothMethodsAndPrintsOneDocument()
    {
        var run = await CommandRun.Succeeds([.. Arguments("--bits", "8,2"), "--json", "--output", folder.At("out")]);

        var document = run.Json;
        Assert.Equal("nibble.compare/2", document.GetProperty("schema").GetString());
        Assert.Equal("model", document.GetProperty("model").GetProperty("name").GetString());
        Assert.Equal("llama", document.GetProperty("model").GetProperty("family").GetString());
        var baseline = document.GetProperty("baseline");
        Assert.True(baseline.GetProperty("metrics").GetProperty("perplexity").GetDouble() > 1);
        Assert.Equal(new FileInfo(folder.Weights).Length, baseline.GetProperty("bytes").GetInt64());
        var runs = document.GetProperty("runs").EnumerateArray().ToDictionary(item => item.GetProperty("name").GetString()!);
        Assert.Equal(["float control", "ptq w2a16-g32-gptaq", "ptq w8a16-g32-gptaq", "qat w2a16-g32", "qat w8a16-g32"],
            runs.Keys.Order(StringComparer.Ordinal));
        foreach (var (name, item) in runs)
        {
            var control = name == "float control";
            Assert.Equal(control ? "float" : name[..3], item.GetProperty("method").GetString());
            Assert.Equal(control ? 32 : name[5] - '0', item.GetProperty("weightBits").GetInt32());
            Assert.Equal(control ? 32 : 16, item.GetProperty("activationBits").GetInt32());
            Assert.True(item.GetProperty("metrics").GetProperty("perplexity").GetDouble() > 1);
            Assert.True(item.GetProperty("divergence").GetDouble() >= 0);
            Assert.InRange(item.GetProperty("agreement").GetDouble(), 0, 1);
            Assert.Equal(
                control ? baseline.GetProperty("bytes").GetInt64()
                    : new FileInfo(Path.Combine(folder.At("out"), name.Replace(' ', '-'), "model.safetensors")).Length,
                item.GetProperty("bytes").GetInt64());
            Assert.True(item.GetProperty("seconds").GetDouble() > 0);
            Assert.True(item.GetProperty("peakBytes").GetInt64() > 1 << 20);
            Assert.Equal(control ? 0 : 7, item.GetProperty("quantized").GetArrayLength());
            Assert.Equal(control ? [] : ["lm_head", "model.embed_tokens"], item.GetProperty("kept").EnumerateArray()
                .Select(layer => layer.GetProperty("name").GetString()!));
            Assert.Equal(!control, item.GetProperty("warnings").EnumerateArray()
                .Any(warning => warning.GetString()!.StartsWith("groups of 32 do not divide", StringComparison.Ordinal)));
        }

        Assert.True(runs["ptq w2a16-g32-gptaq"].GetProperty("divergence").GetDouble() > 10 * runs["ptq w8a16-g32-gptaq"].GetProperty("divergence").GetDouble());
        Assert.Contains("qat w2a16-g32: train 2/2, loss", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task WritesTheReportTheDocumentTheTableAndEveryArtifact()
    {
        var run = await CommandRun.Succeeds([.. Arguments("--bits", "4"), "--json", "-o", folder.At("out")]);

        Assert.Equal(
            ["compare.json", "ptq-w4a16-g32-gptaq", "qat-w4a16-g32", "report.html", "table.md"],
            Directory.EnumerateFileSystemEntries(folder.At("out")).Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal));
        Assert.Equal(["eval.txt", "model", "out", "train.txt"],
            Directory.EnumerateFileSystemEntries(folder.Root).Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal));
        Assert.Equal(run.Output.ReplaceLineEndings("\n"), await Read("compare.json"));
        Assert.StartsWith("<!doctype html>", await Read("report.html"), StringComparison.OrdinalIgnoreCase);
        await CommandRun.Succeeds("report", folder.At("out"), "-o", folder.At("again.html"), "--chart", folder.At("chart.svg"));
        Assert.Equal("svg", System.Xml.Linq.XDocument.Load(folder.At("chart.svg")).Root!.Name.LocalName);
        Assert.Equal(await Read("report.html"), await File.ReadAllTextAsync(folder.At("again.html"), TestContext.Current.CancellationToken));
        Assert.Contains("| ptq w4a16-g32-gptaq |", (await Read("table.md")).Replace("**", string.Empty, StringComparison.Ordinal), StringComparison.Ordinal);
        var artifact = await CommandRun.Succeeds(
            "eval", Path.Combine(folder.At("out"), "qat-w4a16-g32"), "-d", folder.EvaluationText, "--windows", "2", "--json");
        Assert.Equal(
            run.Json.GetProperty("runs").EnumerateArray().Single(item => item.GetProperty("name").GetString() == "qat w4a16-g32").GetProperty("metrics")
                .GetProperty("perplexity").GetDouble(),
            artifact.Perplexity);
    }

    [Fact]
    public async Task PrintsATableAndAdviceForPeople()
    {
        var run = await CommandRun.Succeeds([.. Arguments("--bits", "8"), "--activations", "8", "--group-size", "16", "-o", folder.At("out")]);

        Assert.Contains("ptq w8a8-g16-gptaq", run.Output, StringComparison.Ordinal);
        Assert.Contains("float control", run.Output, StringComparison.Ordinal);
        Assert.Contains("quantized   ptq w8a8-g16-gptaq: 7 layers to int8 ", run.Output, StringComparison.Ordinal);
        Assert.Contains("by qat\nkept float  all quantized runs: 1 layer: the rule 'lm_head' keeps it (lm_head)\n", run.Output, StringComparison.Ordinal);
        Assert.Contains("warning     all quantized runs: groups of 16 do not divide the 40 columns of model.layers.0.mlp.down_proj: ",
            run.Output, StringComparison.Ordinal);
        Assert.Contains($"report: {Path.Combine(folder.At("out"), "report.html")}", run.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("train 2/2", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task HybridsStandBesideThePureMethodsOfTheirWidth()
    {
        var file = folder.Write("mine.yaml", "preset: w4a16-g32\nrules: [{ pattern: '*.mlp.*', weights: { bits: 8 }, method: ptq }]");

        var run = await CommandRun.Succeeds(
            [.. Arguments("--bits", "4"), "--hybrids", $"w4a16-g16-hybrid-attention-qat,{file}", "--json", "-o", folder.At("out")]);

        var runs = run.Json.GetProperty("runs").EnumerateArray().ToList();
        Assert.Equal(
            ["ptq w4a16-g32-gptaq", "float control", "qat w4a16-g32", "hybrid w4a16-g16-hybrid-attention-qat", "hybrid w4a16-g32"],
            runs.Select(item => item.GetProperty("name").GetString()));
        Assert.All(runs[3..], item =>
        {
            Assert.Equal(("hybrid", "w4a16-g32"), (item.GetProperty("method").GetString(), item.GetProperty("recipe").GetString()));
            Assert.True(item.GetProperty("metrics").GetProperty("perplexity").GetDouble() > 1);
        });
        Assert.Contains("hybrid w4a16-g32: train 2/2, loss", run.Error, StringComparison.Ordinal);
        Assert.Contains("| hybrid w4a16-g32 |", (await Read("table.md")).Replace("**", string.Empty, StringComparison.Ordinal), StringComparison.Ordinal);
    }

    [Fact]
    public async Task APureRecipeIsRefusedAmongHybrids()
    {
        var run = await CommandRun.Of([.. Arguments("--bits", "4"), "--hybrids", "w4a16-g32"]);

        Assert.Equal(ExitCode.Usage, run.ExitCode);
        Assert.Contains("--hybrids: the recipe w4a16-g32 has no rule with the method ptq, so it is not a hybrid", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task SaysTheCommandThatRepeatsIt()
    {
        var run = await CommandRun.Succeeds([.. Arguments("--bits", "8"), "--json", "-o", folder.At("out")]);

        var line = run.Json.GetProperty("commandLine").GetString()!;
        Assert.StartsWith($"nibble compare {folder.Model} --data ", line, StringComparison.Ordinal);
        Assert.Contains("--prompt \"The fox\"", line, StringComparison.Ordinal);
    }

    [Fact]
    public async Task WithoutBitsTheWidthsAre84And2()
    {
        var run = await CommandRun.Succeeds(Arguments("--json", "-o", folder.At("out")));

        var names = run.Json.GetProperty("runs").EnumerateArray().Select(item => item.GetProperty("name").GetString());
        Assert.Equal(
            ["ptq w8a16-g32-gptaq", "ptq w4a16-g32-gptaq", "ptq w2a16-g32-gptaq", "float control", "qat w8a16-g32", "qat w4a16-g32", "qat w2a16-g32"],
            names);
    }

    [Fact]
    public async Task TheBuiltInModelComesWithTheProgram()
    {
        var run = await CommandRun.Succeeds("compare", "--bits", "8", "--steps", "1", "--windows", "1", "--json", "-o", folder.At("out"));

        // PTQ and QAT: the float model teaches, so that a control would learn nothing.
        Assert.Equal(2, run.Json.GetProperty("runs").GetArrayLength());
        Assert.All(run.Json.GetProperty("runs").EnumerateArray(),
            item => Assert.Equal(JsonValueKind.Number, item.GetProperty("metrics").GetProperty("perplexity").ValueKind));
    }

    private string[] Arguments(params string[] more) =>
    [
        "compare", folder.Model, "--data", folder.TrainingText, "--eval-data", folder.EvaluationText, "--steps", "2", "--windows", "2", "--prompt", "The fox",
        .. more,
    ];

    private Task<string> Read(string name) => File.ReadAllTextAsync(Path.Combine(folder.At("out"), name), TestContext.Current.CancellationToken);
}
