using Nibble.Formats.CompressedTensors;
using System.Text.Json;
using Nibble.Recipes;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Cli.Tests.Commands;

/// <summary><c>sensitivity</c>, <c>mix</c> and <c>advise</c> of encoders.</summary>
[Collection(OneAtATime.Name)]
public sealed class EncoderStudyTests : IDisposable
{
    private readonly TemporaryFolder folder = new();
    private readonly string labelled;
    private readonly string pairs;

    public EncoderStudyTests() =>
        (labelled, pairs) = (TinyEncoder.WriteLabelled(folder.File("texts.tsv"), 40), TinyEncoder.WritePairs(folder.File("pairs.tsv"), 24));

    private string Classifier => TinyEncoder.WriteClassifier(folder.File("classifier"));

    private string Embedder => TinyEncoder.WriteEmbedder(folder.File("embedder"));

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task LayersOfAClassifierAreMeasuredOnTextsOnce()
    {
        string[] line = Study("sensitivity", Classifier, labelled, "--bits", "2,4", "--algorithm", "rtn", "--activations", "8");
        var first = await CommandRun.Succeeds([.. line, "-o", folder.File("out"), "--json"]);
        var second = await CommandRun.Succeeds(line);

        var document = first.Json;
        Assert.Equal(("nibble.sensitivity/2", "classification"), (document.GetProperty("schema").GetString(), document.GetProperty("task").GetString()));
        Assert.Equal((JsonValueKind.Null, 20), (document.GetProperty("context").ValueKind, document.GetProperty("windows").GetInt32()));
        Assert.Equal(3 * 14, document.GetProperty("layers").GetArrayLength());
        Assert.Contains(document.GetProperty("layers").EnumerateArray(), layer => layer.GetProperty("layer").GetString() == "classifier");
        Assert.Equal(2, document.GetProperty("correlations").GetArrayLength());
        var report = Text("out/report.html");
        Assert.Contains("KL divergence from the float model in nats per text", report, StringComparison.Ordinal);
        Assert.Contains("0 new measurements", second.Error, StringComparison.Ordinal);
        Assert.Contains("20 texts of texts.tsv, held out", second.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task LayersOfAnEmbeddingModelAreMeasuredByCosinesForEachPooling()
    {
        string[] line = Study("sensitivity", Embedder, pairs, "--bits", "2", "--algorithm", "rtn", "--task", "embedding");
        var mean = await CommandRun.Succeeds(line);
        var first = await CommandRun.Succeeds([.. line, "--pooling", "cls", "-o", folder.File("out"), "--json"]);

        const string Measured = "1 minus the cosine with the float model's vectors when only this layer is quantized; 12 lines of pairs.tsv, held out";
        Assert.Contains(Measured, mean.Output, StringComparison.Ordinal);
        Assert.Contains("12 new measurements", first.Error, StringComparison.Ordinal);
        Assert.Equal("embedding", first.Json.GetProperty("task").GetString());
        Assert.Equal(0, first.Json.GetProperty("correlations").GetArrayLength());
        Assert.All(first.Json.GetProperty("layers").EnumerateArray(), layer =>
            Assert.Equal(layer.GetProperty("loss").GetDouble(), layer.GetProperty("kl").GetDouble()));
        Assert.DoesNotContain("Cheap estimates", Text("out/report.html"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task AMixForAClassifierIsARecipeForPtqAndQat()
    {
        var run = await CommandRun.Succeeds(Study(
            "mix", Classifier, labelled, "--budget", "3bits", "--bits", "2,3,4", "--algorithm", "rtn", "--rounds", "1", "--points", "1",
            "--qat-minutes", "0.05", "-o", folder.File("mixed.yaml"), "--json"));

        Assert.Equal(("nibble.mix/2", "classification"), (run.Json.GetProperty("schema").GetString(), run.Json.GetProperty("task").GetString()));
        Assert.InRange(run.Json.GetProperty("methods").GetArrayLength(), 2, 5);
        var recipe = RecipeFile.Load(folder.File("mixed.yaml"));
        Assert.Equal(QatSettings.ForEncoder(3) with { Steps = recipe.Qat.Steps, SequenceLength = recipe.Qat.SequenceLength }, recipe.Qat);
        Assert.Contains("nats over float on held-out data", Text("mixed.yaml"), StringComparison.Ordinal);
        await CommandRun.Succeeds(
            "qat", Classifier, "-r", folder.File("mixed.yaml"), "-d", labelled, "--steps", "2", "-o", folder.File("out"), "--threads", "1");
        Assert.All(QuantizedModelFile.Load(folder.File("out")).Layers, layer => Assert.Equal(recipe.RuleFor(layer.Name)!.Weights, layer.Weight.Scheme));
    }

    [Fact]
    public async Task AMixForAnEmbeddingModelKeepsWithinALossOfCosine()
    {
        string[] line = Study("mix", Embedder, pairs, "--bits", "2,4,8", "--algorithm", "rtn", "--rounds", "1", "--points", "1");
        var run = await CommandRun.Succeeds([.. line, "--budget", "loss=0.02", "-o", folder.File("mixed.yaml")]);
        var none = await CommandRun.Of([.. line, "--budget", "loss=0.0000001", "-o", folder.File("none.yaml")]);

        Assert.Contains("losses are relative to float, in 1 minus the cosine with the float model's vectors, on held-out data", run.Output, StringComparison.Ordinal);
        Assert.Contains("of cosine over float", Text("mixed.yaml"), StringComparison.Ordinal);
        Assert.Contains("1 minus the cosine", Text("mixed.html"), StringComparison.Ordinal);
        Assert.Equal(ExitCode.NoSolution, none.ExitCode);
        Assert.Contains("of cosine with ", none.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AClassifierNeedsNoTrainingAt8BitsAndTheCommandsOfAllOptionsRun()
    {
        string[] line =
            ["advise", Classifier, "--data", labelled, "--bits", "8", "--steps", "2", "--max-length", "10", "--probe-minutes", "1", "--threads", "1"];
        var told = await CommandRun.Succeeds([.. line, "-o", folder.File("advice")]);
        var run = await CommandRun.Succeeds([.. line, "--json"]);

        Assert.Matches("PTQ is (probably )?enough: w8a16-g32", told.Output);
        foreach (var text in (string[])[told.Output, told.Error, Text("advice/report.html")])
        {
            Assert.DoesNotContain("perplexity", text, StringComparison.Ordinal);
            Assert.DoesNotContain("NaN", text, StringComparison.Ordinal);
        }

        Assert.Equal(("nibble.advise/2", "classification"), (run.Json.GetProperty("schema").GetString(), run.Json.GetProperty("task").GetString()));
        Assert.True(run.Json.GetProperty("floatLoss").GetDouble() > 0);
        Assert.Equal("ptqIsEnough", run.Json.GetProperty("widths")[0].GetProperty("verdict").GetString());
        Assert.Equal(JsonValueKind.Null, run.Json.GetProperty("control").ValueKind);
        await RunCommands(run.Json, "--recipe w8a16-g32-encoder --data");
    }

    [Fact]
    public async Task AnEmbeddingModelIsAdvisedOnTextsAloneAndTheCommandsOfAllOptionsRun()
    {
        var texts = TinyEncoder.WriteTexts(folder.File("plain.txt"), 40);
        string[] line =
        [
            "advise", Embedder, "--task", "embedding", "--pooling", "cls", "--data", texts, "--bits", "4", "--activations", "8", "--steps", "3",
            "--probe-minutes", "1", "--threads", "1",
        ];
        var told = await CommandRun.Succeeds(line);
        var run = await CommandRun.Succeeds([.. line, "--json"]);

        Assert.Contains("of cosine", told.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("perplexity", told.Output, StringComparison.Ordinal);
        Assert.Equal("embedding", run.Json.GetProperty("task").GetString());
        Assert.Equal(JsonValueKind.Null, run.Json.GetProperty("floatLoss").ValueKind);
        Assert.Contains(run.Json.GetProperty("options").EnumerateArray(), option => option.GetProperty("method").GetString() == "hybrid");
        await RunCommands(run.Json, "--task embedding --pooling cls --recipe w4a8-g32-encoder --data");
    }

    [Fact]
    public async Task WhatBelongsToDecodersAloneIsRefusedByName()
    {
        await Refuses("--context has no effect here", Study("sensitivity", Classifier, labelled, "--context", "8"));
        await Refuses(
            "--context has no effect here", Study("mix", Classifier, labelled, "--budget", "3bits", "--context", "8", "-o", folder.File("mixed.yaml")));
        await Refuses("--context has no effect here", "advise", Classifier, "--data", labelled, "--context", "8");
        await Refuses(
            "--max-loss is 2%, a share of the perplexity, but this model has no perplexity", "advise", Classifier, "--data", labelled, "--max-loss", "2%");
        await Refuses("--pooling is for --task embedding", "advise", Classifier, "--data", labelled, "--pooling", "cls");
        await Refuses("--max-length is 13, expected at most 12", Study("sensitivity", Classifier, labelled, "--max-length", "13"));
        using var decoder = new TinyFolder();
        await Refuses("--max-length has no effect here", Study("sensitivity", decoder.Model, decoder.TrainingText, "--max-length", "8"));
        Assert.False(File.Exists(folder.File("mixed.yaml")));

        static async Task Refuses(string reason, params string[] line)
        {
            var run = await CommandRun.Of(line);
            Assert.Equal(ExitCode.Usage, run.ExitCode);
            Assert.Contains(reason, run.Error, StringComparison.Ordinal);
        }
    }

    private string Text(string name) => File.ReadAllText(folder.File(name));

    private string[] Study(string command, string model, string data, params string[] options) =>
        [command, model, "--data", data, "--cache", folder.File("cache"), "--threads", "1", .. options];

    private async Task RunCommands(JsonElement advice, string expected)
    {
        var commands = advice.GetProperty("options").EnumerateArray().Select(option => option.GetProperty("command").GetString()!).ToList();
        Assert.Contains(commands, command => command.Contains(expected, StringComparison.Ordinal));
        foreach (var command in commands)
        {
            var words = command.Split(' ');
            words[^1] = folder.File(words[^1]);
            await CommandRun.Succeeds([.. words.Skip(1)]);
        }
    }
}
