using System.Text.Json;
using System.Xml.Linq;
using Nibble.Cli.Comparison;
using Nibble.Tests.Shared;

namespace Nibble.Cli.Tests.Commands;

/// <summary><c>nibble bench</c> in the engines themselves: what it says, not how long it takes.</summary>
[Collection(OneAtATime.Name)]
public sealed class BenchCommandTests : IDisposable
{
    private static readonly string[] Short = ["--prompt-tokens", "8", "--tokens", "4", "--repeats", "2", "--threads", "1"];

    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task AnONNXFileIsMeasuredBesideAnother()
    {
        await CommandRun.Succeeds("export", folder.Model, "--to", "onnx", "-o", folder.At("float/model.onnx"));
        await CommandRun.Succeeds("ptq", folder.Model, "--recipe", "w8a8", "--output", folder.At("artifact"));
        await CommandRun.Succeeds("export", folder.At("artifact"), "--to", "onnx", "-o", folder.At("w8a8/model.onnx"));
        var run = await CommandRun.Succeeds(
            ["bench", folder.At("w8a8"), "--against", folder.At("float/model.onnx"), "--report", folder.At("bench.html"), "--json", .. Short]);

        Assert.Equal("nibble.bench/1", run.Json.GetProperty("schema").GetString());
        Assert.Equal(8, run.Json.GetProperty("promptTokens").GetInt32());
        RequireMeasured(run.Json.GetProperty("file"), "w8a8", "onnxruntime", folder.At("w8a8/model.onnx"));
        RequireMeasured(run.Json.GetProperty("against"), "float", "onnxruntime", folder.At("float/model.onnx"));
        Assert.All((string[])["prompt", "generation"], name => RequireSpread(run.Json.GetProperty("speedup").GetProperty(name)));

        var page = XDocument.Parse(File.ReadAllText(folder.At("bench.html")).Replace("<!DOCTYPE html>", string.Empty, StringComparison.Ordinal));
        Assert.Equal(["", "w8a8", "float", "compared"], page.Descendants("thead").Single().Descendants("th").Select(heading => heading.Value));
        Assert.Equal(["size", "load", "peak memory", "before loading", "prompt", "generation"],
            page.Descendants("tbody").Single().Descendants("th").Select(heading => heading.Value));
    }

    [Fact]
    public async Task AGGUFFileIsMeasuredAlone()
    {
        LlamaCpp.RequireFolder();
        await CommandRun.Succeeds("export", BuiltInModel.Folder, "--to", "gguf", "-o", folder.At("story.gguf"));
        var run = await CommandRun.Succeeds(["bench", folder.At("story.gguf"), "--json", .. Short]);
        RequireMeasured(run.Json.GetProperty("file"), "story", "llama.cpp", folder.At("story.gguf"));
        Assert.Equal(JsonValueKind.Null, run.Json.GetProperty("against").ValueKind);
        Assert.Equal(JsonValueKind.Null, run.Json.GetProperty("speedup").ValueKind);

        var text = (await CommandRun.Succeeds(["bench", folder.At("story.gguf"), .. Short])).Output;
        Assert.StartsWith("llama.cpp, 1 thread, a prompt of 8 tokens and 4 generated tokens; the median of 2 runs", text, StringComparison.Ordinal);
        Assert.Contains("tokens/s", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task WhatIsNoExportedFileIsRefused()
    {
        foreach (var (path, reason) in ((string, string)[])[
            (folder.Model, "nibble export makes one"), (folder.At("none.gguf"), "there is no file"), (folder.TrainingText, "is not an exported file")])
        {
            var run = await CommandRun.Of("bench", path);
            Assert.Equal(ExitCode.BadInput, run.ExitCode);
            Assert.Contains(reason, run.Error, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task APromptBeyondTheContextIsRefused()
    {
        await CommandRun.Succeeds("export", folder.Model, "--to", "onnx", "-o", folder.At("float/model.onnx"));
        var run = await CommandRun.Of("bench", folder.At("float"), "--prompt-tokens", "60", "--tokens", "5", "--threads", "1");
        Assert.Equal(ExitCode.BadInput, run.ExitCode);
        Assert.Contains("are more than the model's context of 64", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AFileThatTheEngineRefusesIsRefused()
    {
        var run = await CommandRun.Of("bench", folder.Write("broken.onnx", "no graph"), "--threads", "1");
        Assert.Equal(ExitCode.BadInput, run.ExitCode);
        Assert.Contains("refuses the file", run.Error, StringComparison.Ordinal);
    }

    private static void RequireMeasured(JsonElement file, string name, string engine, string path)
    {
        Assert.Equal(name, file.GetProperty("name").GetString());
        Assert.Equal(engine, file.GetProperty("engine").GetString());
        Assert.Equal(path, file.GetProperty("path").GetString());
        Assert.Equal(new FileInfo(path).Length, file.GetProperty("bytes").GetInt64());
        Assert.All((string[])["loadSeconds", "startBytes", "peakBytes", "promptTokensPerSecond", "generatedTokensPerSecond"],
            measured => RequireSpread(file.GetProperty(measured)));
        Assert.True(file.GetProperty("peakBytes").GetProperty("low").GetDouble() > file.GetProperty("startBytes").GetProperty("low").GetDouble());
    }

    private static void RequireSpread(JsonElement spread)
    {
        var (low, median, high) = (spread.GetProperty("low").GetDouble(), spread.GetProperty("median").GetDouble(), spread.GetProperty("high").GetDouble());
        Assert.InRange(low, double.Epsilon, median);
        Assert.InRange(high, median, double.MaxValue);
    }
}
