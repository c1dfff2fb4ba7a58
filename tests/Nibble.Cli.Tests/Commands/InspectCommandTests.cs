namespace Nibble.Cli.Tests.Commands;

[Collection(OneAtATime.Name)]
public sealed class InspectCommandTests : IDisposable
{
    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task DescribesEveryLinearLayer()
    {
        var run = await CommandRun.Succeeds("inspect", folder.Model, "--json");
        var document = run.Json;

        Assert.Empty(run.Error);
        Assert.Equal("nibble.inspect/1", document.GetProperty("schema").GetString());
        Assert.Equal("llama", document.GetProperty("type").GetString());
        Assert.Equal(new FileInfo(folder.Weights).Length, document.GetProperty("bytes").GetInt64());
        Assert.Equal(8, document.GetProperty("layers").GetArrayLength());
        var down = document.GetProperty("layers").EnumerateArray().Single(layer => layer.GetProperty("name").GetString() == "model.layers.0.mlp.down_proj");
        Assert.Equal((16, 40), (down.GetProperty("rows").GetInt32(), down.GetProperty("columns").GetInt32()));
        Assert.InRange(down.GetProperty("min").GetDouble(), -0.75, -0.3);
        Assert.InRange(down.GetProperty("max").GetDouble(), 0.3, 0.75);
        Assert.InRange(down.GetProperty("deviation").GetDouble(), 0.2, 0.3);
    }

    [Fact]
    public async Task PredictsTheBytesThatPtqWrites()
    {
        var predicted = (await CommandRun.Succeeds("inspect", folder.Model, "--json")).Json.GetProperty("sizeByWidth").GetProperty("w4a16-g32").GetInt64();
        await CommandRun.Succeeds("ptq", folder.Model, "-r", "w4a16-g32", "-o", folder.At("out"));
        var artifact = (await CommandRun.Succeeds("inspect", folder.At("out"), "--json")).Json;

        // Names and shapes in the header are what the estimate leaves out.
        const int Header = 4000;
        Assert.InRange(artifact.GetProperty("bytes").GetInt64(), predicted - Header, predicted + Header);

        // Quantizing what is 4 bits wide to 4 bits again saves nothing.
        Assert.Equal(artifact.GetProperty("bytes").GetInt64(), artifact.GetProperty("sizeByWidth").GetProperty("w4a16-g32").GetInt64());
    }

    [Theory]
    [InlineData("gguf", "model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight")]
    [InlineData("onnx", "MatMulNBits", "model.layers.0.mlp.gate_proj.weight.codes")]
    public async Task ShowsWhatAFileConsistsOf(string format, string absent, string tensor)
    {
        await CommandRun.Succeeds("ptq", folder.Model, "-r", "w4a16-g32", "-o", folder.At("out"));
        await CommandRun.Succeeds(
            ["export", folder.At("out"), "--to", format, "-o", folder.At("model." + format), .. format == "gguf" ? (string[])["--type", "f16"] : []]);
        var run = await CommandRun.Succeeds("inspect", folder.At("model." + format), "--json");
        Assert.Equal("nibble.inspect-file/1", run.Json.GetProperty("schema").GetString());
        Assert.Equal(new FileInfo(folder.At("model." + format)).Length, run.Json.GetProperty("bytes").GetInt64());
        Assert.Contains(run.Json.GetProperty("tensors").EnumerateArray(),
            entry => entry.GetProperty("name").GetString() == tensor && entry.GetProperty("bytes").GetInt64() > 0);
        Assert.Equal(format == "onnx", run.Json.GetProperty("inputs").GetArrayLength() > 0);

        var text = await CommandRun.Succeeds("inspect", folder.At("model." + format));
        Assert.Contains(tensor, text.Output, StringComparison.Ordinal);
        Assert.Equal(format == "onnx", text.Output.Contains(absent, StringComparison.Ordinal));
    }

    [Fact]
    public async Task SaysHowAFileIsBroken()
    {
        var onnx = await CommandRun.Of("inspect", folder.Write("no.onnx", "\u0012no"));
        Assert.Equal(ExitCode.BadInput, onnx.ExitCode);
        Assert.Contains("is not an ONNX model", onnx.Error, StringComparison.Ordinal);
        var gguf = await CommandRun.Of("inspect", folder.Write("no.gguf", "GGUF"));
        Assert.Equal(ExitCode.BadInput, gguf.ExitCode);
    }

    [Fact]
    public async Task ShowsWhichMethodMadeEachSideOfEachLayer()
    {
        var recipe = folder.Write("mine.yaml", """
            rules:
              - { pattern: "*.mlp.*", weights: { bits: 4, method: ptq }, activations: { bits: 8, granularity: tensor, method: qat } }
              - { pattern: "*.o_proj", weights: { bits: 3 }, activations: { bits: 4 } }
            qat: { steps: 1, batchSize: 1, sequenceLength: 16 }
            """);
        await CommandRun.Succeeds("qat", folder.Model, "-r", recipe, "-d", folder.TrainingText, "-o", folder.At("out"));

        var layers = (await CommandRun.Succeeds("inspect", folder.At("out"), "--json")).Json.GetProperty("layers").EnumerateArray()
            .ToDictionary(layer => layer.GetProperty("name").GetString()!);
        Assert.Equal(("int4 symmetric per channel", "ptq", "int8 symmetric per tensor", "qat"), Sides("mlp.up_proj"));
        Assert.Equal(("int3 symmetric per channel", "qat", "int4 symmetric per token", null), Sides("self_attn.o_proj"));
        Assert.Equal((null, null, null, null), Sides("self_attn.q_proj"));
        Assert.Matches("int4 ptq +int8 qat", (await CommandRun.Succeeds("inspect", folder.At("out"))).Output);

        (string?, string?, string?, string?) Sides(string layer) =>
            (Text(layer, "weights"), Text(layer, "weightMethod"), Text(layer, "input"), Text(layer, "inputMethod"));

        string? Text(string layer, string key) => layers["model.layers.0." + layer].GetProperty(key).GetString();
    }

    [Fact]
    public async Task PrintsATableForPeople()
    {
        var run = await CommandRun.Succeeds("inspect", folder.Model);

        Assert.Contains("model.layers.0.self_attn.q_proj", run.Output, StringComparison.Ordinal);
        Assert.Contains("16 x 16", run.Output, StringComparison.Ordinal);
        Assert.Contains("w2a16-g32", run.Output, StringComparison.Ordinal);
        Assert.DoesNotContain('\u001b', run.Output);
    }
}
