using Nibble.Recipes;
using Nibble.Torch.Models.Bert;
using Nibble.Torch.Tests.Models.Bert;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Cli.Tests.Commands;

/// <summary><c>nibble export</c> and <c>nibble verify</c> of classifiers, in ONNX Runtime itself.</summary>
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
    public async Task A_float_classifier_is_the_same_in_onnxruntime(string type)
    {
        var model = new TinyBert(type).Write(folder.File("model"));
        var export = await CommandRun.Succeeds("export", model, "--to", "onnx", "-o", folder.File("exported/model.onnx"), "--json");
        Assert.Equal(14, export.Json.GetProperty("types").GetProperty("MatMul").GetInt32());
        Assert.True(File.Exists(folder.File("exported/vocab.txt")));

        var run = await Verify(model, "--file", folder.File("exported/model.onnx"), "--json");
        Assert.Equal(ExitCode.Done, run.ExitCode);
        Assert.Equal("nibble.verify-classifier/1", run.Json.GetProperty("schema").GetString());
        Assert.Equal("same", run.Json.GetProperty("verdict").GetString());
        Assert.Equal(5, run.Json.GetProperty("texts").GetInt32());
        Assert.Equal(run.Json.GetProperty("simulatedAccuracy").GetDouble(), run.Json.GetProperty("engineAccuracy").GetDouble());
        Assert.InRange(run.Json.GetProperty("largestDifference").GetDouble(), 0, 1e-4);
        Assert.InRange(run.Json.GetProperty("ownLargestDifference").GetDouble(), 0, 1e-4);
        Assert.Equal(1, run.Json.GetProperty("agreement").GetDouble());
    }

    [Theory]
    [InlineData("w4a16-g16", false)]
    [InlineData("w8a8", true)]
    [InlineData("w8a8-static", true)]
    public async Task A_quantized_classifier_is_the_same_in_onnxruntime(string recipe, bool quantizesInputs)
    {
        using var loaded = LoadedClassifier.Open(new TinyBert().Write(folder.File("model")));
        var run = await Verify(QuantizedBert.Write(loaded, RecipePresets.Parse(recipe), folder.File("artifact")), "--windows", "3");
        Assert.True(run.ExitCode == ExitCode.Done, run.Output + run.Error);
        Assert.Contains("of 3 texts", run.Output, StringComparison.Ordinal);
        Assert.EndsWith("verdict     same", run.Output.TrimEnd(), StringComparison.Ordinal);
        Assert.Equal(quantizesInputs, run.Output.Contains("decided as there, 0 codes differ", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Another_model_s_file_differs()
    {
        var model = new TinyBert().Write(folder.File("model"));
        await CommandRun.Succeeds("export", model, "--to", "onnx", "-o", folder.File("first.onnx"));
        new TinyBert().Write(folder.File("model"), tensors => Array.Fill(tensors["classifier.bias"].Values, 3f, 0, 1));
        var run = await Verify(model, "--file", folder.File("first.onnx"));
        Assert.Equal(ExitCode.NoSolution, run.ExitCode);
        Assert.EndsWith("verdict     differs", run.Output.TrimEnd(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_cannot_be_done_with_a_classifier_is_refused()
    {
        var model = new TinyBert().Write(folder.File("model"));
        await CommandRun.Succeeds("export", model, "--to", "onnx", "-o", folder.File("exported/model.onnx"));
        await Refuses("add --engine onnxruntime", "verify", model, "--data", texts);
        await Refuses("model_type", "export", model, "--to", "gguf", "-o", folder.File("model.gguf"));
        await Refuses("expected a decoder", "generate", folder.File("exported"), "-p", "good");
        await Refuses("expected a decoder", "bench", folder.File("exported"), "--threads", "1");
        await Refuses("expected 'text TAB class'", "verify", model, "--engine", "onnxruntime", "--data", Path.Combine(model, "vocab.txt"));

        static async Task Refuses(string reason, params string[] line)
        {
            var run = await CommandRun.Of(line);
            Assert.Equal(ExitCode.BadInput, run.ExitCode);
            Assert.Contains(reason, run.Error, StringComparison.Ordinal);
        }
    }

    private Task<CommandRun> Verify(string model, params string[] further) => CommandRun.Of(["verify", model, "--data", texts, "--engine", "onnxruntime", "--threads", "1", .. further]);
}
