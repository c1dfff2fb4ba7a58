namespace Nibble.Cli.Tests.Commands;

[Collection(OneAtATime.Name)]
public sealed class InspectCommandTests : IDisposable
{
    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task Describes_every_linear_layer()
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
    public async Task Foretells_the_bytes_that_ptq_writes()
    {
        var foretold = (await CommandRun.Succeeds("inspect", folder.Model, "--json")).Json.GetProperty("sizeByWidth").GetProperty("w4a16-g32").GetInt64();
        await CommandRun.Succeeds("ptq", folder.Model, "-r", "w4a16-g32", "-o", folder.At("out"));
        var artifact = (await CommandRun.Succeeds("inspect", folder.At("out"), "--json")).Json;

        // Names and shapes in the header are what the estimate leaves out.
        const int Header = 4000;
        Assert.InRange(artifact.GetProperty("bytes").GetInt64(), foretold - Header, foretold + Header);

        // Quantizing what is 4 bits wide to 4 bits again saves nothing.
        Assert.Equal(artifact.GetProperty("bytes").GetInt64(), artifact.GetProperty("sizeByWidth").GetProperty("w4a16-g32").GetInt64());
    }

    [Fact]
    public async Task Weights_that_are_not_numbers_are_shown_not_hidden()
    {
        folder.RuinAWeight();

        var layers = (await CommandRun.Succeeds("inspect", folder.Model, "--json")).Json.GetProperty("layers");

        Assert.Contains(layers.EnumerateArray(), layer => layer.GetProperty("deviation").ValueKind == System.Text.Json.JsonValueKind.Null);
    }

    [Fact]
    public async Task Prints_a_table_for_people()
    {
        var run = await CommandRun.Succeeds("inspect", folder.Model);

        Assert.Contains("model.layers.0.self_attn.q_proj", run.Output, StringComparison.Ordinal);
        Assert.Contains("16 x 16", run.Output, StringComparison.Ordinal);
        Assert.Contains("w2a16-g32", run.Output, StringComparison.Ordinal);
        Assert.DoesNotContain('\u001b', run.Output);
    }
}
