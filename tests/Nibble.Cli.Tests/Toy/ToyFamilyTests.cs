using Nibble.Cli.Tests.Commands;
using Nibble.Models;
using Nibble.Torch.Models;
using Nibble.Torch.Tests.Models.Bert;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Cli.Tests.Toy;

/// <summary>A family of one's own is this folder and one line: every command for encoders takes it.</summary>
[Collection(OneAtATime.Name)]
public sealed class ToyFamilyTests : IDisposable
{
    private static readonly string[] Once = ["--threads", "1"];

    private readonly TemporaryFolder folder = new();
    private readonly string labelled;
    private readonly string pairs;

    static ToyFamilyTests() => ModelFamilies.Register(new ToyFamily());

    public ToyFamilyTests() =>
        (labelled, pairs) = (TinyEncoder.WriteLabelled(folder.File("texts.tsv"), 40), TinyEncoder.WritePairs(folder.File("pairs.tsv"), 24));

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task BothMethodsTakeAClassifierToItsEngine()
    {
        var model = Write("classifier", """,  "id2label":{"0":"a","1":"b","2":"c"}""");
        await Run("finetune", model, "--data", labelled, "--steps", "4", "-o", folder.File("tuned"));
        await Run("inspect", folder.File("tuned"));
        await Run("ptq", folder.File("tuned"), "--recipe", "w4a8-static-gptq", "--data", labelled, "-o", folder.File("ptq"));
        await Run("qat", folder.File("tuned"), "--recipe", "w4a8-static", "--data", labelled, "--steps", "2", "-o", folder.File("qat"));
        foreach (var artifact in (string[])["ptq", "qat"])
        {
            var score = await Run("eval", folder.File(artifact), "--data", labelled, "--reference", folder.File("tuned"));
            Assert.Contains("accuracy", score.Output, StringComparison.Ordinal);
            await Run("export", folder.File(artifact), "--to", "onnx", "-o", folder.File(artifact + ".onnx"));
            var verdict = await Run("verify", folder.File(artifact + ".onnx"), "--data", labelled);
            Assert.Contains("in onnxruntime", verdict.Output, StringComparison.Ordinal);
            await Run("import", folder.File(artifact + ".onnx"), "-o", folder.File(artifact + "-again"));
        }

        await Run("bench", folder.File("ptq.onnx"), "--against", folder.File("qat.onnx"), "--repeats", "1");
    }

    [Fact]
    public async Task AClassifierIsStudiedComparedAndAdvised()
    {
        var model = Write("classifier", """,  "id2label":{"0":"a","1":"b","2":"c"}""");
        string[] study = ["--bits", "2,4", "--algorithm", "rtn", "--cache", folder.File("cache")];
        var measured = await Run(["sensitivity", model, "--data", labelled, .. study]);
        Assert.Contains("toy.blocks.1.down", measured.Output, StringComparison.Ordinal);
        await Run(["mix", model, "--data", labelled, .. study, "--budget", "3bits", "--rounds", "1", "--points", "1", "-o", folder.File("mixed.yaml")]);
        await Run("ptq", model, "--recipe", folder.File("mixed.yaml"), "--data", labelled, "-o", folder.File("mixed"));
        await Run("advise", model, "--data", labelled, "--bits", "8", "--steps", "2", "--probe-minutes", "1");
        var compared = await Run("compare", model, "--data", labelled, "--eval-data", labelled, "--bits", "4", "--steps", "2");
        Assert.Contains("float control", compared.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AnEmbeddingModelIsExportedWithItsPooling()
    {
        var model = Write("embedder", string.Empty, new TaskConfig(ModelTask.Embedding));
        await Run("qat", model, "--recipe", "w4a8-static-encoder", "--data", pairs, "--steps", "2", "-o", folder.File("qat"));
        await Run("export", folder.File("qat"), "--to", "onnx", "-o", folder.File("qat.onnx"));
        await Run("verify", folder.File("qat.onnx"), "--data", pairs);
    }

    [Fact]
    public async Task WhatBelongsToDecodersRefusesAToy()
    {
        var model = Write("classifier", """,  "id2label":{"0":"a","1":"b","2":"c"}""");
        foreach (var line in (string[][])[["generate", model, "--prompt", "good"], ["export", model, "--to", "gguf", "-o", folder.File("toy.gguf")]])
        {
            var run = await CommandRun.Of(line);
            Assert.NotEqual(0, run.ExitCode);
            Assert.DoesNotContain("   at ", run.Error, StringComparison.Ordinal);
        }

        Assert.False(File.Exists(folder.File("toy.gguf")));
    }

    private static Task<CommandRun> Run(params string[] line) =>
        CommandRun.Succeeds(line[0] is "inspect" or "import" or "export" ? line : [.. line, .. Once]);

    private string Write(string name, string labels, TaskConfig? task = null)
    {
        var json = $$"""
            {"model_type":"toy","vocab_size":{{TinyBert.Vocabulary}},"hidden_size":16,"intermediate_size":24,"num_hidden_layers":2{{labels}}}
            """;
        using var model = LoadedModel.Create(task?.AddTo(json) ?? json, new TinyBert().Write(folder.File("words")), seed: 3);
        model.Save(folder.File(name));
        return folder.File(name);
    }
}
