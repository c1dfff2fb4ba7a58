using Nibble.Onnx.Graphs;

namespace Nibble.Cli.Tests.Commands;

/// <summary><c>nibble quantize</c> of ONNX files.</summary>
[Collection(OneAtATime.Name)]
public sealed class QuantizeOnnxCommandTests : IDisposable
{
    private readonly TinyFolder folder = new();
    private readonly string model;

    public QuantizeOnnxCommandTests()
    {
        model = folder.At("net.onnx");
        var builder = new GraphBuilder();
        var x = builder.Input("x", OnnxType.Float32, "n", 16);
        var weight = builder.Initializer("w", OnnxType.Float32, [16, 32], stream =>
        {
            for (var i = 0; i < 16 * 32; i++)
            {
                stream.Write(BitConverter.GetBytes(MathF.Sin(i)));
            }
        });
        builder.Output(builder.Node("Relu", [builder.Node("MatMul", [x, weight])]), "y", OnnxType.Float32, "n", 32);
        OnnxWriter.Write(model, builder.Build("net", []), builder.Initializers);
    }

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task RandomDataIsWarnedOfAndSaidInTheFile()
    {
        var run = await CommandRun.Succeeds("quantize", model, "--mode", "static", "--data", "random", "--samples", "20", "-o", folder.At("q.onnx"));

        Assert.Contains("random data: the ranges, and with them the errors below, are not those of real data", run.Error, StringComparison.Ordinal);
        Assert.Contains("static INT8, ", run.Output, StringComparison.Ordinal);
        var metadata = OnnxModelReader.Read(folder.At("q.onnx")).Model.MetadataProps.ToDictionary(entry => entry.Key, entry => entry.Value);
        Assert.Equal("random data, 20 samples", metadata["nibble.calibration"]);
        Assert.StartsWith("static, for Any, ranges by Mse from 16 samples", metadata["nibble.quantization"], StringComparison.Ordinal);
    }

    [Fact]
    public async Task OneDocumentAndAReportSayTheSame()
    {
        var run = await CommandRun.Succeeds(
            "quantize", model, "--data", "random", "--samples", "20", "-o", folder.At("q.onnx"), "--report", folder.At("q.html"), "--json");

        Assert.Equal("nibble.quantize-onnx/1", run.Json.GetProperty("schema").GetString());
        Assert.Equal(3, run.Json.GetProperty("trials").GetArrayLength());
        Assert.Equal(new FileInfo(folder.At("q.onnx")).Length, run.Json.GetProperty("bytes").GetInt64());
        var page = await File.ReadAllTextAsync(folder.At("q.html"), TestContext.Current.CancellationToken);
        Assert.Contains("Modes that were tried", page, StringComparison.Ordinal);
        Assert.Contains("nibble quantize", page, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("quantize|NET|-o|OUT", "--data is missing")]
    [InlineData("quantize|NET|--data|random|--type|q4_k_m|-o|OUT", "--type is for GGUF files, but FILE is an ONNX file; remove it.")]
    [InlineData("quantize|net.gguf|--mode|static|--type|q8_0|-o|OUT", "--mode is for ONNX files, but FILE is a GGUF file; remove it.")]
    [InlineData("quantize|net.gguf|-o|OUT", "A GGUF file needs --type")]
    [InlineData("quantize|NET|--data|random|--bits|4|-o|OUT", "--bits has no effect here: it is for --mode weights; remove it")]
    [InlineData("quantize|NET|--data|random|--algorithms|gptq|-o|OUT", "--algorithms gptq is for --mode weights; add --mode weights")]
    [InlineData("quantize|NET|--data|random|--algorithms|bias,cel|-o|OUT", "--algorithms: 'cel' is not one of bias, cle, smooth, none, rtn, hqq, gptq.")]
    [InlineData("quantize|NET|--data|random|--algorithms|cle,cle|-o|OUT", "--algorithms names cle twice")]
    [InlineData("quantize|NET|--data|random|--algorithms|cle,none|-o|OUT", "--algorithms none stands alone; only bias, cle, smooth can be combined")]
    [InlineData("quantize|NET|--data|random|--mode|dynamic|--algorithms|cle|-o|OUT", "--algorithms has no effect here: cle is for --mode static or auto")]
    [InlineData("quantize|NET|--data|random|--exclude|Conv|-o|OUT", "No node of the model matches 'Conv'")]
    [InlineData("quantize|NET|--data|missing.npy|-o|OUT", "There is no file or folder missing.npy")]
    public async Task WhatCannotWorkIsSaidAndNothingIsWritten(string line, string expected)
    {
        var run = await CommandRun.Of([.. line.Split('|').Select(word => word == "NET" ? model : word == "OUT" ? folder.At("q.onnx") : word)]);

        Assert.NotEqual(0, run.ExitCode);
        Assert.Contains(expected, run.Error, StringComparison.Ordinal);
        Assert.False(File.Exists(folder.At("q.onnx")));
    }

    [Fact]
    public async Task SeveralAlgorithmsAreAppliedAndWhatTheyDidIsSaid()
    {
        string[] line = ["quantize", model, "--mode", "static", "--algorithms", "cle,smooth", "--data", "random", "--samples", "20", "-o"];

        var run = await CommandRun.Succeeds([.. line, folder.At("q.onnx"), "--report", folder.At("q.html")]);

        Assert.Contains("cle         0 pairs of layers have equal ranges", run.Output, StringComparison.Ordinal);
        Assert.Contains("its result is an output of the model", run.Output, StringComparison.Ordinal);
        Assert.Contains("smooth      0 inputs of products lost outliers to weights", run.Output, StringComparison.Ordinal);
        Assert.Contains("The algorithm cle changed nothing", run.Error, StringComparison.Ordinal);
        var metadata = OnnxModelReader.Read(folder.At("q.onnx")).Model.MetadataProps.ToDictionary(entry => entry.Key, entry => entry.Value);
        Assert.EndsWith(", algorithms: cle (0), smooth (0)", metadata["nibble.quantization"], StringComparison.Ordinal);
        var page = await File.ReadAllTextAsync(folder.At("q.html"), TestContext.Current.CancellationToken);
        Assert.Contains("Before calibration", page, StringComparison.Ordinal);
        var json = (await CommandRun.Succeeds([.. line, folder.At("again.onnx"), "--json"])).Json;
        Assert.Equal("cle", json.GetProperty("transformations")[0].GetProperty("name").GetString());
        Assert.Equal("MatMul", json.GetProperty("transformations")[0].GetProperty("skipped")[0].GetProperty("operator").GetString());
    }

    [Theory]
    [InlineData("static")]
    [InlineData("dynamic")]
    [InlineData("weights|--bits|4|--algorithms|gptq")]
    [InlineData("weights|--algorithms|hqq")]
    public async Task EveryModeWritesAFileThatIsSmaller(string mode)
    {
        var run = await CommandRun.Succeeds(
            ["quantize", model, "--mode", .. mode.Split('|'), "--data", "random", "--samples", "20", "-o", folder.At("q.onnx"), "--json"]);

        Assert.Equal(mode.Split('|')[0], run.Json.GetProperty("mode").GetString());
        Assert.Equal(1, run.Json.GetProperty("nodes").EnumerateArray().Count(node =>
            node.GetProperty("operator").GetString() == "MatMul" && node.GetProperty("kept").ValueKind == System.Text.Json.JsonValueKind.Null));
        Assert.InRange(run.Json.GetProperty("outputs")[0].GetProperty("decibels").GetDouble(), 15, 100);
    }
}
