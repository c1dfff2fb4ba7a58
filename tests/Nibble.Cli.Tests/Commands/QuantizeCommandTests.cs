using System.Text.Json;

namespace Nibble.Cli.Tests.Commands;

/// <summary><c>ptq</c> and <c>qat</c>, and what <c>eval</c> and <c>generate</c> make of their artifacts.</summary>
[Collection(OneAtATime.Name)]
public sealed class QuantizeCommandTests : IDisposable
{
    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task PtqWritesAnArtifactThatEvalScoresCloseToItsSource()
    {
        var quantized = await CommandRun.Succeeds("ptq", folder.Model, "--recipe", "w8a16-g32", "--output", folder.At("out"), "--json");

        Assert.Equal(["config.json", "model.safetensors", "nibble.json", "tokenizer.json"],
            Directory.EnumerateFiles(folder.At("out")).Select(path => Path.GetFileName(path)).Order());
        var document = quantized.Json;
        Assert.Equal("nibble.quantize/1", document.GetProperty("schema").GetString());
        Assert.Equal("ptq", document.GetProperty("method").GetString());
        Assert.Equal(7, document.GetProperty("layers").GetInt32());
        Assert.Equal(new FileInfo(Path.Combine(folder.At("out"), "model.safetensors")).Length, document.GetProperty("bytes").GetInt64());
        Assert.Equal(JsonValueKind.Null, document.GetProperty("finalTrainingLoss").ValueKind);

        var scored = await Eval(folder.At("out"), "--reference", folder.Model);
        var original = await Eval(folder.Model);
        Assert.Equal(original.Perplexity, scored.Perplexity, 0.02 * original.Perplexity);
        Assert.InRange(scored.Json.GetProperty("agreement").GetDouble(), 0.8, 1);
        Assert.InRange(scored.Json.GetProperty("divergence").GetDouble(), 1e-9, 0.01);
        Assert.Equal(JsonValueKind.Null, original.Json.GetProperty("divergence").ValueKind);
    }

    [Theory]
    [InlineData("w8a8")]
    [InlineData("w8a8-static-percentile")]
    [InlineData("wta16-g32")]
    public async Task PtqFollowsEveryKindOfPreset(string preset)
    {
        await CommandRun.Succeeds("ptq", folder.Model, "-r", preset, "-d", folder.TrainingText, "-o", folder.At("out"));

        Assert.Equal(0, (await Eval(folder.At("out"))).ExitCode);
    }

    [Fact]
    public async Task QatTrainsWritesAnArtifactAndSaysSo()
    {
        var run = await CommandRun.Succeeds(
            "qat", folder.Model, "-r", "w2a16-g32", "-d", folder.TrainingText, "-o", folder.At("out"), "--steps", "3", "--json");

        var document = run.Json;
        Assert.Equal("qat", document.GetProperty("method").GetString());
        Assert.InRange(document.GetProperty("finalTrainingLoss").GetDouble(), 1, 10);
        Assert.Contains("train 3/3, loss", run.Error, StringComparison.Ordinal);
        using var manifest = JsonDocument.Parse(
            await File.ReadAllTextAsync(Path.Combine(folder.At("out"), "nibble.json"), TestContext.Current.CancellationToken));
        Assert.Equal(3, manifest.RootElement.GetProperty("recipe").GetProperty("qat").GetProperty("steps").GetInt32());
        Assert.InRange((await Eval(folder.At("out"))).Perplexity, 2, 1000);
    }

    [Fact]
    public async Task QatWithoutDataTrainsOnWhatTheModelWritesAndDrawsItsCurves()
    {
        var recipe = folder.Write(
            "recipe.yaml", "preset: w2a16-g32\nqat: { sequenceLength: 16, batchSize: 2, evaluateEvery: 2, distillation: { weight: 0.5, hidden: 1 }, recompute: "
            + "true }");
        string[] arguments = ["qat", folder.Model, "-r", recipe, "-d", "self", "--steps", "4", "--windows", "5"];
        var run = await CommandRun.Succeeds([.. arguments, "-o", folder.At("out"), "--report", folder.At("report.html"), "--json"]);
        await CommandRun.Succeeds([.. arguments, "-o", folder.At("again"), "--report", folder.At("again.html")]);

        Assert.Equal("5 windows of 16 tokens of text that the float model wrote itself", run.Json.GetProperty("calibration").GetString());
        Assert.Contains("sample 80/80", run.Error, StringComparison.Ordinal);
        Assert.Contains("train 4/4, loss", run.Error, StringComparison.Ordinal);
        Assert.Contains("held out", run.Error, StringComparison.Ordinal);
        Assert.Contains("tokens/s", run.Error, StringComparison.Ordinal);
        var report = await File.ReadAllTextAsync(folder.At("report.html"), TestContext.Current.CancellationToken);
        Assert.Contains(">held out</text>", report, StringComparison.Ordinal);
        Assert.Contains(">training</text>", report, StringComparison.Ordinal);
        Assert.Equal(report, await File.ReadAllTextAsync(folder.At("again.html"), TestContext.Current.CancellationToken));
        Assert.Equal(TinyFolder.ContentOf(folder.At("out")), TinyFolder.ContentOf(folder.At("again")));
    }

    [Fact]
    public async Task QatLowersTheLossThatPtqLeaves()
    {
        await CommandRun.Succeeds("ptq", folder.Model, "-r", "w2a16-g32", "-o", folder.At("ptq"));
        await CommandRun.Succeeds(
            "qat", folder.Model, "-r", "w2a16-g32", "-d", folder.TrainingText, "-o", folder.At("qat"), "--steps", "20", "--learning-rate", "0.01");

        var (before, after) = ((await Eval(folder.At("ptq"))).Json, (await Eval(folder.At("qat"))).Json);
        Assert.True(after.GetProperty("loss").GetDouble() < before.GetProperty("loss").GetDouble() - 0.5);
    }

    [Fact]
    public async Task OptionsThatTheRecipeLeavesWithoutEffectAreNamed()
    {
        var ptq = await CommandRun.Succeeds(
            "ptq", folder.Model, "-r", "w4a16-g32", "-o", folder.At("out"), "-d", folder.TrainingText, "--windows", "3", "--length", "16");
        var qat = await CommandRun.Succeeds(
            "qat", folder.Model, "-r", "w4a16-g32", "-o", folder.At("trained"), "-d", folder.TrainingText, "--steps", "1", "--teacher-cache",
            folder.At("cache"));

        Assert.Contains("nibble: --data, --windows, --length have no effect: the recipe w4a16-g32 needs no calibration", ptq.Error, StringComparison.Ordinal);
        Assert.Contains("nibble: --teacher-cache has no effect: the recipe w4a16-g32 has no distillation", qat.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("ptq")]
    [InlineData("qat")]
    public async Task TheSameSeedGivesTheSameBytes(string method)
    {
        string[] arguments = [method, folder.Model, "-r", "w3a8-g32", "-d", folder.TrainingText, "--seed", "11",
            .. method == "qat" ? (string[])["--steps", "2"] : []];
        await CommandRun.Succeeds([.. arguments, "-o", folder.At("first")]);
        await CommandRun.Succeeds([.. arguments, "-o", folder.At("second")]);

        Assert.Equal(TinyFolder.ContentOf(folder.At("first")), TinyFolder.ContentOf(folder.At("second")));
    }

    [Fact]
    public async Task AnotherSeedTrainsOnOtherBatches()
    {
        foreach (var seed in new[] { "1", "2" })
        {
            await CommandRun.Succeeds("qat", folder.Model, "-r", "w3a16-g32", "-d", folder.TrainingText, "--steps", "2", "--seed", seed, "-o", folder.At(seed));
        }

        Assert.NotEqual(TinyFolder.ContentOf(folder.At("1"))["model.safetensors"], TinyFolder.ContentOf(folder.At("2"))["model.safetensors"]);
    }

    [Fact]
    public async Task TextForPeopleGoesToStdoutAndProgressToStderr()
    {
        var run = await CommandRun.Succeeds("ptq", folder.Model, "-r", "w4a16-g32", "-o", folder.At("out"));

        Assert.Contains("7 layers by ptq w4a16-g32", run.Output, StringComparison.Ordinal);
        Assert.Contains("quantize 7/7", run.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("quantize 7/7", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ARunSaysWhatItDidWithEachLayerAndWarnsBeforeItBegins()
    {
        var recipe = folder.Write(
            "mine.yaml",
            """
            rules:
              - { pattern: lm_head, weights: { bits: 8, symmetric: true } }
              - { pattern: '*.mlp.*', weights: { bits: 4, groupSize: 32, symmetric: true } }
              - { pattern: 'model.layers.5.*', weights: { bits: 2 } }
            ptq: { dampening: 0.1 }
            """);
        string[] warnings =
        [
            "the rule 'model.layers.5.*' matches none of the 8 layers and has no effect; their names look like 'model.layers.0.self_attn.q_proj'",
            "groups of 32 do not divide the 16 columns of model.layers.0.mlp.gate_proj, model.layers.0.mlp.up_proj: each row is one group, and other engines "
                + "refuse such layers",
            "groups of 32 do not divide the 40 columns of model.layers.0.mlp.down_proj: the last group of each row holds 8, and other engines "
                + "refuse such layers",
            "the setting ptq.dampening has no effect: only gptq and gptaq use it",
        ];
        string[] expected =
        [
            "quantized   3 layers to int4 symmetric per group 32, by rtn",
            "quantized   1 layer to int8 symmetric per channel, by rtn",
            "kept float  4 layers: no rule matches it (model.layers.0.self_attn.q_proj, model.layers.0.self_attn.k_proj, model.layers.0.self_attn.v_proj and "
                + "1 more)",
            "kept float  1 layer: decoder embeddings stay in float (model.embed_tokens)",
            .. warnings.Select(warning => "warning     " + warning),
        ];
        string[] arguments = ["ptq", folder.Model, "-r", recipe, "-o", folder.At("out")];
        var dry = await CommandRun.Succeeds([.. arguments, "--dry-run"]);
        var estimate = (await CommandRun.Succeeds([.. arguments, "--dry-run", "--json"])).Json;
        var run = await CommandRun.Succeeds(arguments);
        var document = (await CommandRun.Succeeds([.. arguments[..^1], folder.At("again"), "--json"])).Json;

        Assert.Equal(expected, run.Output.Trim().Split('\n')[1..]);
        Assert.Equal(expected, dry.Output.Trim().Split('\n')[1..]);
        Assert.All(warnings, warning => Assert.True(run.Error.IndexOf("nibble: " + warning, StringComparison.Ordinal) is >= 0 and var told
            && told < run.Error.IndexOf("quantize 1/4", StringComparison.Ordinal)));
        foreach (var json in new[] { document, estimate })
        {
            Assert.Equal(warnings, json.GetProperty("warnings").EnumerateArray().Select(item => item.GetString()));
            Assert.Equal(5, json.GetProperty("kept").GetArrayLength());
            Assert.Equal("no rule matches it", json.GetProperty("kept")[0].GetProperty("reason").GetString());
        }

        var layers = document.GetProperty("quantized").EnumerateArray().ToDictionary(item => item.GetProperty("name").GetString()!);
        Assert.Equal(["lm_head", "model.layers.0.mlp.down_proj", "model.layers.0.mlp.gate_proj", "model.layers.0.mlp.up_proj"],
            layers.Keys.Order(StringComparer.Ordinal));
        Assert.Equal("int8 symmetric per channel", layers["lm_head"].GetProperty("weights").GetString());
        Assert.Equal(JsonValueKind.Null, layers["lm_head"].GetProperty("activations").ValueKind);
        Assert.Equal("rtn", layers["lm_head"].GetProperty("algorithms").GetString());
    }

    [Theory]
    [InlineData("ptq")]
    [InlineData("qat")]
    public async Task ATiedHeadThatARuleNamesIsQuantized(string method)
    {
        var config = Path.Combine(folder.Model, "config.json");
        await File.WriteAllTextAsync(
            config,
            (await File.ReadAllTextAsync(config, TestContext.Current.CancellationToken))
                .Replace("\"vocab_size\"", "\"tie_word_embeddings\": true, \"vocab_size\"", StringComparison.Ordinal),
            TestContext.Current.CancellationToken);
        folder.WriteWeights(name => name != "lm_head.weight");
        var recipe = folder.Write("mine.yaml", "preset: w4a16-g8\nrules: [{ pattern: lm_head, weights: { bits: 8, symmetric: true } }]");
        string[] further = method == "qat" ? ["-d", folder.TrainingText, "--steps", "2"] : [];
        var run = await CommandRun.Succeeds([method, folder.Model, "-r", recipe, "-o", folder.At("out"), "--json", .. further]);
        var plain = await CommandRun.Succeeds([method, folder.Model, "-r", "w4a16-g8", "-o", folder.At("plain"), .. further]);

        Assert.Equal((8, 1), (run.Json.GetProperty("layers").GetInt32(), run.Json.GetProperty("kept").GetArrayLength()));
        Assert.Contains("kept float  1 layer: it shares the embedding's matrix (tie_word_embeddings); a rule that names only this layer gives it its "
            + "own matrix (lm_head)", plain.Output, StringComparison.Ordinal);
        Assert.True((await Eval(folder.At("out"), "--reference", folder.Model)).Json.GetProperty("divergence").GetDouble() < 0.1);
    }

    [Fact]
    public async Task GenerateContinuesThePromptAndRepeatsItselfForOneSeed()
    {
        string[] arguments = ["generate", folder.Model, "--prompt", "The fox", "--max-tokens", "12", "--seed", "3"];
        var text = await CommandRun.Succeeds(arguments);
        var document = (await CommandRun.Succeeds([.. arguments, "--json"])).Json;

        Assert.StartsWith("The fox", text.Output, StringComparison.Ordinal);
        Assert.Equal("nibble.generate/1", document.GetProperty("schema").GetString());
        Assert.Equal(text.Output, "The fox" + document.GetProperty("text").GetString() + Environment.NewLine);
        Assert.NotEmpty(document.GetProperty("text").GetString()!);
    }

    [Fact]
    public async Task GenerateTakesAPromptThatStartsWithAnAtSignAsItIs()
    {
        var run = await CommandRun.Succeeds("generate", folder.Model, "--prompt", "@home", "--max-tokens", "1");

        Assert.StartsWith("@home", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task GenerateAtTemperature0DoesNotDependOnTheSeed()
    {
        var runs = new List<string>();
        foreach (var seed in new[] { "1", "2" })
        {
            runs.Add((await CommandRun.Succeeds("generate", folder.Model, "-p", "The fox", "--max-tokens", "6", "--temperature", "0", "--seed", seed)).Output);
        }

        Assert.Equal(runs[0], runs[1]);
    }

    [Fact]
    public async Task EvalPrintsPerplexityForPeopleAndScoresOnlyTheWindowsAskedFor()
    {
        var run = await CommandRun.Succeeds(
            "eval", folder.Model, "--data", folder.EvaluationText, "--windows", "2", "--context", "32", "--reference", folder.Model);

        Assert.StartsWith("perplexity  ", run.Output, StringComparison.Ordinal);
        Assert.Contains("agreement   100.00", run.Output, StringComparison.Ordinal);
        Assert.Contains("scored      30 tokens of eval.txt in 2 windows of 32", run.Output, StringComparison.Ordinal);
        Assert.Contains("evaluate 2/2", run.Error, StringComparison.Ordinal);
    }

    private Task<CommandRun> Eval(string model, params string[] more) => CommandRun.Succeeds(["eval", model, "-d", folder.EvaluationText, "--json", .. more]);
}
