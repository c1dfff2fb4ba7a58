using System.Text.Json;
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
    [InlineData("quantize|net.gguf|--dry-run|--type|q8_0|-o|OUT", "--dry-run is for ONNX files, but FILE is a GGUF file; remove it.")]
    [InlineData("quantize|NET|--data|random|--dry-run|--report|r.html|-o|OUT", "--report has no effect here: a dry run writes nothing; remove it")]
    [InlineData("quantize|NET|--data|random|--memory|0|-o|OUT", "--memory is 0, expected above 0")]
    [InlineData("quantize|NET|--data|random|--memory|20|-o|OUT", "MB of memory, even if it watches values one at a time, and only 20 MB are allowed")]
    [InlineData("quantize|NET|--data|random|--memory|20|--dry-run|-o|OUT", "and only 20 MB are allowed")]
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
            node.GetProperty("operator").GetString() == "MatMul" && node.GetProperty("kept").ValueKind == JsonValueKind.Null));
        Assert.InRange(run.Json.GetProperty("outputs")[0].GetProperty("decibels").GetDouble(), 15, 100);
    }

    [Theory]
    [InlineData("static")]
    [InlineData("dynamic")]
    [InlineData("weights")]
    [InlineData("auto")]
    public async Task ADryRunSaysWhatTheRunGives(string mode)
    {
        string[] line = ["quantize", model, "--mode", mode, "--data", "random", "--samples", "20", "--memory", "20000", "-o", folder.At("q.onnx"), "--json"];

        var dry = (await CommandRun.Succeeds([.. line, "--dry-run"])).Json;

        Assert.False(File.Exists(folder.At("q.onnx")));
        var run = (await CommandRun.Succeeds(line)).Json;
        Assert.Equal("nibble.estimate-onnx/1", dry.GetProperty("schema").GetString());
        Assert.Equal(mode, dry.GetProperty("mode").GetString());
        Assert.Equal(run.GetProperty("data").GetString(), dry.GetProperty("data").GetString());
        Assert.Equal(20, dry.GetProperty("samples").GetInt32());
        Assert.Equal(mode is "static" or "auto" ? 1 : 0, dry.GetProperty("passes").GetInt32());
        var chosen = dry.GetProperty("modes").EnumerateArray().Single(
            tried => tried.GetProperty("mode").GetString() == run.GetProperty("mode").GetString());
        Assert.True(JsonElement.DeepEquals(run.GetProperty("nodes"), chosen.GetProperty("nodes")), $"{chosen} and {run}");
        var bytes = run.GetProperty("bytes").GetInt64();
        Assert.InRange(chosen.GetProperty("bytes").GetInt64(), bytes * 0.98, bytes * 1.02);
    }

    [Fact]
    public async Task ADryRunInWordsSaysModesDataAndMemory()
    {
        var run = await CommandRun.Succeeds("quantize", model, "--mode", "static", "--data", "random", "--dry-run", "-o", folder.At("q.onnx"));

        Assert.StartsWith("dry run of static INT8: 2 of 2 nodes in integers, a file of ", run.Output, StringComparison.Ordinal);
        Assert.Contains("data        random data, 128 samples; at most 128 to calibrate on, read once", run.Output, StringComparison.Ordinal);
        Assert.Matches(@"memory      at most [\d,]+ MiB", run.Output);
    }

    [Fact]
    public async Task TheSameSeedGivesTheSameBytes()
    {
        async Task<byte[]> Bytes(string seed, string name)
        {
            await CommandRun.Succeeds(
                "quantize", model, "--mode", "static", "--data", "random", "--samples", "20", "--seed", seed, "-o", folder.At(name), "--quiet");
            return await File.ReadAllBytesAsync(folder.At(name), TestContext.Current.CancellationToken);
        }

        var first = await Bytes("5", "first.onnx");

        Assert.Equal(first, await Bytes("5", "second.onnx"));
        Assert.NotEqual(first, await Bytes("6", "other.onnx"));
    }

    [Fact]
    public async Task MemoryDoesNotGrowWithTheData()
    {
        // 8,000 samples of the calibration with 4 values of 128 KiB each: 4 GiB if they were kept.
        var network = folder.At("convolutions.onnx");
        var builder = new GraphBuilder();
        var value = builder.Input("x", OnnxType.Float32, 1, 1, 32, 32);
        for (var layer = 0; layer < 2; layer++)
        {
            var inputs = layer == 0 ? 1 : 32;
            var weight = builder.Initializer($"w{layer}", OnnxType.Float32, [32, inputs, 1, 1], stream =>
            {
                for (var i = 0; i < 32 * inputs; i++)
                {
                    stream.Write(BitConverter.GetBytes(MathF.Sin(i)));
                }
            });
            value = builder.Node("Relu", [builder.Node("Conv", [value, weight])]);
        }

        builder.Output(builder.Node("GlobalAveragePool", [value]), "y", OnnxType.Float32, 1, 32, 1, 1);
        OnnxWriter.Write(network, builder.Build("net", []), builder.Initializers);
        string[] line = ["quantize", network, "--mode", "static", "--data", "random", "--json", "--quiet", "-o"];

        var few = await ChildProcess.Run(folder.Root, [.. line, folder.At("few.onnx"), "--samples", "100"]);
        var many = await ChildProcess.Run(folder.Root, [.. line, folder.At("many.onnx"), "--samples", "10000"]);
        var expected = await ChildProcess.Run(folder.Root, [.. line, folder.At("none.onnx"), "--samples", "10000", "--dry-run"]);

        Assert.Equal(8000, many.Json.GetProperty("calibrationSamples").GetInt32());
        var peak = many.Json.GetProperty("peakBytes").GetInt64();
        Assert.InRange(peak - few.Json.GetProperty("peakBytes").GetInt64(), long.MinValue, 20_000_000);
        Assert.InRange(peak, 50_000_000, expected.Json.GetProperty("peakBytes").GetInt64());
    }
}
