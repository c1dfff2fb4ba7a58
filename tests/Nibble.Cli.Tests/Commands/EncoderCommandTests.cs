using Nibble.Recipes;
using Nibble.Torch.Models;
using Nibble.Torch.Tests.Models.Bert;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Cli.Tests.Commands;

/// <summary>The commands of encoders, with ONNX Runtime itself.</summary>
[Collection(OneAtATime.Name)]
public sealed class EncoderCommandTests : IDisposable
{
    private readonly TemporaryFolder folder = new();
    private readonly string texts;

    public EncoderCommandTests()
    {
        texts = folder.File("texts.tsv");
        File.WriteAllLines(texts, ["sentence\tlabel", "good film\t2", "bad films w12 w13\t0", "w20 good w21 w22 w23\t1", "film bad\t0", "w9 w30 w31\t1"]);
    }

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("bert")]
    [InlineData("roberta")]
    [InlineData("distilbert")]
    public async Task AFloatClassifierIsTheSameInOnnxruntime(string type)
    {
        var model = new TinyBert(type).Write(folder.File("model"));
        var export = await CommandRun.Succeeds("export", model, "--to", "onnx", "-o", folder.File("exported/model.onnx"), "--json");
        Assert.Equal(14, export.Json.GetProperty("types").GetProperty("MatMul").GetInt32());
        Assert.True(File.Exists(folder.File("exported/vocab.txt")));

        var run = await Verify(model, "--file", folder.File("exported/model.onnx"), "--json");
        Assert.Equal(ExitCode.Done, run.ExitCode);
        Assert.Equal(("nibble.verify-encoder/1", "classification"), (run.Json.GetProperty("schema").GetString(), run.Json.GetProperty("task").GetString()));
        Assert.Equal("same", run.Json.GetProperty("verdict").GetString());
        Assert.Equal(5, run.Json.GetProperty("pieces").GetInt32());
        Assert.Equal(run.Metric("accuracy", "simulated"), run.Metric("accuracy", "inEngine"));
        Assert.Equal(run.Metric("matthewsCorrelation", "simulated"), run.Metric("matthewsCorrelation", "inEngine"));
        Assert.InRange(run.Json.GetProperty("largestDifference").GetDouble(), 0, 1e-4);
        Assert.InRange(run.Json.GetProperty("ownLargestDifference").GetDouble(), 0, 1e-4);
        Assert.Equal(1, run.Json.GetProperty("agreement").GetDouble());
    }

    [Theory]
    [InlineData("w4a16-g16", false)]
    [InlineData("w8a8", true)]
    [InlineData("w8a8-static", true)]
    public async Task AQuantizedClassifierIsTheSameInOnnxruntime(string recipe, bool quantizesInputs)
    {
        using var loaded = LoadedModel.Open(new TinyBert().Write(folder.File("model")));
        var run = await Verify(QuantizedBert.Write(loaded, RecipePresets.Parse(recipe), folder.File("artifact")), "--windows", "3");
        Assert.True(run.ExitCode == ExitCode.Done, run.Output + run.Error);
        Assert.Contains("on 3 texts", run.Output, StringComparison.Ordinal);
        Assert.EndsWith("verdict     same", run.Output.TrimEnd(), StringComparison.Ordinal);
        Assert.Equal(quantizesInputs, run.Output.Contains("with ties decided as in the engine, 0 codes differ", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("w4a16-g16", null)]
    [InlineData("w4a16-g16-gptq", "calibrated on 5 texts of texts.tsv")]
    [InlineData("w4a8-g16-gptaq-debias", "calibrated on 5 texts of texts.tsv")]
    [InlineData("w4a16-g16-adaround", "calibrated on 5 texts of texts.tsv")]
    [InlineData("w8a8-static", "calibrated on 5 texts of texts.tsv")]
    public async Task AClassifierIsQuantizedScoredAndRun(string recipe, string? calibration)
    {
        var model = new TinyBert().Write(folder.File("model"));
        var ptq = await CommandRun.Succeeds("ptq", model, "--recipe", recipe, "--data", texts, "-o", folder.File("artifact"), "--threads", "1");
        Assert.Contains("14 layers by ptq " + recipe, ptq.Output, StringComparison.Ordinal);
        Assert.Equal(calibration is not null, ptq.Output.Contains("calibrated", StringComparison.Ordinal));
        Assert.Contains(calibration ?? string.Empty, ptq.Output, StringComparison.Ordinal);
        Assert.Contains("quantized   14 layers to int", ptq.Output, StringComparison.Ordinal);
        Assert.Contains("kept float  3 layers: embedding tables stay in float unless a rule names embeddings (bert.embeddings.", ptq.Output,
            StringComparison.Ordinal);

        var inspected = await CommandRun.Succeeds("inspect", folder.File("artifact"), "--json");
        Assert.Equal("bert", inspected.Json.GetProperty("type").GetString());
        Assert.Equal(14, inspected.Json.GetProperty("layers").EnumerateArray().Count(layer => layer.GetProperty("weights").GetString() is not null));
        var score = await CommandRun.Succeeds("eval", folder.File("artifact"), "--data", texts, "--threads", "1", "--json");
        Assert.Equal(5, score.Json.GetProperty("pieces").GetInt32());
        var run = await Verify(folder.File("artifact"), "--json");
        Assert.True(run.ExitCode == ExitCode.Done, run.Output + run.Error);
        Assert.Equal(score.Metric("accuracy"), run.Metric("accuracy", "simulated"));
        Assert.Equal(score.Json.GetProperty("loss").GetDouble(), run.Json.GetProperty("simulatedLoss").GetDouble(), 1e-6);
    }

    [Fact]
    public async Task AClassifierSArtifactIsTheSameForTheSameSeed()
    {
        var model = new TinyBert().Write(folder.File("model"));
        foreach (var name in (string[])["first", "second"])
        {
            await CommandRun.Succeeds("ptq", model, "--recipe", "w8a8-static", "--data", texts, "-o", folder.File(name), "--threads", "1");
        }

        foreach (var path in Directory.GetFiles(folder.File("first")))
        {
            Assert.Equal(File.ReadAllBytes(path), File.ReadAllBytes(folder.File("second/" + Path.GetFileName(path))));
        }
    }

    [Theory]
    [InlineData(null)]
    [InlineData("w4a16-g16")]
    public async Task AFileAloneIsVerifiedAndImported(string? recipe)
    {
        var model = new TinyBert().Write(folder.File("model"));
        if (recipe is not null)
        {
            using var loaded = LoadedModel.Open(model);
            model = QuantizedBert.Write(loaded, RecipePresets.Parse(recipe), folder.File("artifact"));
        }

        var exported = await CommandRun.Succeeds("export", model, "--to", "onnx", "-o", folder.File("exported/model.onnx"));
        Assert.Contains(recipe is null ? "kept float  17 layers: no codes (" : "quantized   14 layers to int4 asymmetric per group 16\n", exported.Output,
            StringComparison.Ordinal);
        var run = await CommandRun.Succeeds("verify", folder.File("exported/model.onnx"), "--data", texts, "--threads", "1", "--json");
        Assert.Equal(("same", "exported"), (run.Json.GetProperty("verdict").GetString(), run.Json.GetProperty("model").GetString()));

        var imported = await CommandRun.Succeeds("import", folder.File("exported/model.onnx"), "-o", folder.File("imported"));
        Assert.Contains(recipe is null ? "0 layers from onnx" : "14 layers from onnx", imported.Output, StringComparison.Ordinal);
        Assert.Contains(recipe is null ? "kept float  17 layers: no codes (" : "quantized   14 layers to int4 asymmetric per group 16\n", imported.Output,
            StringComparison.Ordinal);
        Assert.Equal(ExitCode.Done, (await Verify(folder.File("imported"))).ExitCode);
    }

    [Fact]
    public async Task AClassifierIsTrainedWithQuantization()
    {
        var model = new TinyBert().Write(folder.File("model"));
        var before = await CommandRun.Succeeds("eval", model, "--data", texts, "--threads", "1", "--json");
        var qat = await CommandRun.Succeeds(
            "qat", model, "--recipe", "w4a8-g16", "--data", texts, "--steps", "30", "--learning-rate", "0.01", "-o", folder.File("artifact"), "--threads", "1",
            "--json");
        Assert.Equal(("qat", 14), (qat.Json.GetProperty("method").GetString(), qat.Json.GetProperty("layers").GetInt32()));
        var after = await CommandRun.Succeeds("eval", folder.File("artifact"), "--data", texts, "--reference", model, "--threads", "1", "--json");
        Assert.True(after.Json.GetProperty("loss").GetDouble() < before.Json.GetProperty("loss").GetDouble());
        Assert.InRange(after.Json.GetProperty("divergence").GetDouble(), 1e-6, 10);
        var verified = await Verify(folder.File("artifact"));
        Assert.True(verified.ExitCode == ExitCode.Done, verified.Output);
    }

    [Fact]
    public async Task APretrainedEncoderIsFineTunedForTheLabelsOfTheData()
    {
        var named = folder.File("named.tsv");
        File.WriteAllLines(named, File.ReadAllLines(texts).Select(line => line.Replace("\t0", "\tbad", StringComparison.Ordinal)
            .Replace("\t1", "\tfair", StringComparison.Ordinal).Replace("\t2", "\tgood", StringComparison.Ordinal)));
        var pretrained = WriteEmbedder();
        string[] train = ["finetune", pretrained, "--task", "classification", "--data", named, "--eval-data", named, "--steps", "40", "--learning-rate", "0.01",
            "--threads", "1"];
        var tuned = await CommandRun.Succeeds([.. train, "-o", folder.File("tuned"), "--json"]);
        Assert.Equal(("nibble.finetune/1", 40), (tuned.Json.GetProperty("schema").GetString(), tuned.Json.GetProperty("steps").GetInt32()));
        Assert.Equal(1, tuned.Metric("accuracy"));
        Assert.Contains("good", File.ReadAllText(Path.Combine(folder.File("tuned"), "config.json")), StringComparison.Ordinal);

        var score = await CommandRun.Succeeds("eval", folder.File("tuned"), "--data", named, "--threads", "1", "--json");
        Assert.Equal(("nibble.eval/2", 1.0), (score.Json.GetProperty("schema").GetString(), score.Metric("accuracy")));
        await CommandRun.Succeeds([.. train, "-o", folder.File("again")]);
        Assert.Equal(
            File.ReadAllBytes(Path.Combine(folder.File("tuned"), "model.safetensors")),
            File.ReadAllBytes(Path.Combine(folder.File("again"), "model.safetensors")));
    }

    [Theory]
    [InlineData("w8a8", null)]
    [InlineData("w4a16-g16-gptq", "calibrated on 8 texts of pairs.tsv")]
    public async Task SentenceEmbeddingsAreQuantizedScoredAndRun(string recipe, string? calibration)
    {
        var pairs = folder.File("pairs.tsv");
        File.WriteAllLines(pairs, ["good film\tgood films\t5", "bad film\tw12 w13\t0.5", "w20 good w21\tw21 w20\t3", "w9 w30\tbad w31 w31\t1.2"]);
        var model = WriteEmbedder();
        var ptq = await CommandRun.Succeeds("ptq", model, "--recipe", recipe, "--data", pairs, "-o", folder.File("artifact"), "--threads", "1");
        Assert.Contains(calibration ?? string.Empty, ptq.Output, StringComparison.Ordinal);
        Assert.True(File.Exists(folder.File("artifact/1_Pooling/config.json")));

        var score = await CommandRun.Succeeds("eval", folder.File("artifact"), "--data", pairs, "--reference", model, "--threads", "1", "--json");
        Assert.Equal(("embedding", 4), (score.Json.GetProperty("task").GetString(), score.Json.GetProperty("pieces").GetInt32()));
        Assert.InRange(score.Json.GetProperty("agreement").GetDouble(), 0.95, 0.999999);
        var run = await CommandRun.Of("verify", folder.File("artifact"), "--data", pairs, "--engine", "onnxruntime", "--threads", "1", "--json");
        Assert.True(run.ExitCode == ExitCode.Done, run.Output + run.Error);
        Assert.Equal(score.Metric("spearman"), run.Metric("spearman", "simulated"));
    }

    [Fact]
    public async Task AnotherModelSFileDiffers()
    {
        var model = new TinyBert().Write(folder.File("model"));
        await CommandRun.Succeeds("export", model, "--to", "onnx", "-o", folder.File("first.onnx"));
        new TinyBert().Write(folder.File("model"), tensors => Array.Fill(tensors["classifier.bias"].Values, 3f, 0, 1));
        var run = await Verify(model, "--file", folder.File("first.onnx"));
        Assert.Equal(ExitCode.NoSolution, run.ExitCode);
        Assert.EndsWith("verdict     differs", run.Output.TrimEnd(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task WhatCannotBeDoneWithAClassifierIsRefused()
    {
        var model = new TinyBert().Write(folder.File("model"));
        await CommandRun.Succeeds("export", model, "--to", "onnx", "-o", folder.File("exported/model.onnx"));
        await Refuses("add --engine onnxruntime", "verify", model, "--data", texts);
        await Refuses("model_type", "export", model, "--to", "gguf", "-o", folder.File("model.gguf"));
        await Refuses("expected a decoder", "generate", folder.File("exported"), "-p", "good");
        await Refuses("needs calibration data", "ptq", model, "--recipe", "w4a16-g16-gptq", "-o", folder.File("artifact"));
        await Refuses("needs calibration data", "ptq", model, "--recipe", "w8a8-static", "-o", folder.File("artifact"));
        await RefusesWith(ExitCode.Usage, "--context", "eval", model, "--data", texts, "--context", "8");
        await RefusesWith(ExitCode.Usage, "--pooling is for --task embedding", "eval", model, "--data", texts, "--pooling", "cls");
        await Refuses("for embedding, expected the model's task, classification", "eval", model, "--data", texts, "--reference", WriteEmbedder());
        Assert.False(Directory.Exists(folder.File("artifact")));
        await Refuses("expected 'text TAB label'", "verify", model, "--engine", "onnxruntime", "--data", Path.Combine(model, "vocab.txt"));

        static Task Refuses(string reason, params string[] line) => RefusesWith(ExitCode.BadInput, reason, line);

        static async Task RefusesWith(int exitCode, string reason, params string[] line)
        {
            var run = await CommandRun.Of(line);
            Assert.Equal(exitCode, run.ExitCode);
            Assert.Contains(reason, run.Error, StringComparison.Ordinal);
        }
    }

    private string WriteEmbedder() => TinyEncoder.WriteEmbedder(folder.File("embedder"));

    private Task<CommandRun> Verify(string model, params string[] further) =>
        CommandRun.Of(["verify", model, "--data", texts, "--engine", "onnxruntime", "--threads", "1", .. further]);
}
