using System.Text.Json;
using System.Xml.Linq;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Cli.Tests.Commands;

/// <summary><c>nibble bench</c> of encoders in ONNX Runtime: what it says, not how long it takes.</summary>
[Collection(OneAtATime.Name)]
public sealed class EncoderBenchTests : IDisposable
{
    private static readonly string[] Short = ["--length", "8", "--batch", "4", "--repeats", "2", "--threads", "1"];

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task AClassifierIsMeasuredBesideAnother()
    {
        var model = TinyEncoder.WriteClassifier(folder.File("model"));
        await CommandRun.Succeeds("ptq", model, "--recipe", "w8a8", "-o", folder.File("artifact"));
        var (quantized, original) = (await Export(folder.File("artifact"), "w8a8"), await Export(model, "float"));
        var run = await CommandRun.Succeeds(["bench", quantized, "--against", original, "--report", folder.File("bench.html"), "--json", .. Short]);

        Assert.Equal("nibble.bench-encoder/1", run.Json.GetProperty("schema").GetString());
        Assert.Equal((8, 4), (run.Json.GetProperty("tokens").GetInt32(), run.Json.GetProperty("batch").GetInt32()));
        RequireMeasured(run.Json.GetProperty("file"), "w8a8", 4);
        RequireMeasured(run.Json.GetProperty("against"), "float", 4);
        Assert.All((string[])["single", "batched"], name =>
            Assert.True(run.Json.GetProperty("speedup").GetProperty(name).GetProperty("median").GetDouble() > 0));
        var page = XDocument.Parse(File.ReadAllText(folder.File("bench.html")).Replace("<!DOCTYPE html>", string.Empty, StringComparison.Ordinal));
        Assert.Equal(["", "w8a8", "float", "compared"], page.Descendants("thead").Single().Descendants("th").Select(heading => heading.Value));
        Assert.Equal(
            ["size", "load", "peak memory", "before loading", "latency, one text", "latency, a batch", "one text at a time", "batches of 4"],
            page.Descendants("tbody").Single().Descendants("th").Select(heading => heading.Value));
    }

    [Fact]
    public async Task AnEmbeddingModelIsMeasuredAloneWithTextsAsLongAsItTakes()
    {
        var file = await Export(TinyEncoder.WriteEmbedder(folder.File("model")), "embedder");
        var run = await CommandRun.Succeeds("bench", file, "--repeats", "1", "--threads", "1");

        Assert.StartsWith("onnxruntime, 1 thread, texts of 12 tokens, one at a time and in batches of 32; one run", run.Output, StringComparison.Ordinal);
        Assert.Contains("texts/s", run.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("tokens/s", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task OptionsAndFilesOfTheOtherKindAreRefused()
    {
        var encoder = await Export(TinyEncoder.WriteClassifier(folder.File("model")), "encoder");
        using var tiny = new TinyFolder();
        var decoder = await Export(tiny.Model, "decoder");
        await Refuses(ExitCode.Usage, "--prompt-tokens has no effect here: it is for decoders", encoder, "--prompt-tokens", "8");
        await Refuses(ExitCode.Usage, "--tokens has no effect here: it is for decoders", encoder, "--tokens", "8");
        await Refuses(ExitCode.Usage, "--engine-path has no effect here", encoder, "--engine-path", folder.File("none"));
        await Refuses(ExitCode.Usage, "--length is 13, expected at most 12", encoder, "--length", "13");
        await Refuses(ExitCode.Usage, "--length has no effect here: it is for encoders", decoder, "--length", "8");
        await Refuses(ExitCode.Usage, "--batch has no effect here: it is for encoders", decoder, "--batch", "8");
        await Refuses(ExitCode.BadInput, "holds a decoder, but ", encoder, "--against", decoder);
        await Refuses(ExitCode.BadInput, "holds an encoder, but ", decoder, "--against", encoder);

        static async Task Refuses(int exitCode, string reason, params string[] line)
        {
            var run = await CommandRun.Of(["bench", .. line, "--threads", "1"]);
            Assert.Equal(exitCode, run.ExitCode);
            Assert.Contains(reason, run.Error, StringComparison.Ordinal);
        }
    }

    private async Task<string> Export(string model, string name)
    {
        await CommandRun.Succeeds("export", model, "--to", "onnx", "-o", folder.File(name + "/model.onnx"));
        return folder.File(name + "/model.onnx");
    }

    private static void RequireMeasured(JsonElement file, string name, int batch)
    {
        Assert.Equal((name, "onnxruntime"), (file.GetProperty("name").GetString(), file.GetProperty("engine").GetString()));
        Assert.All((string[])["loadSeconds", "startBytes", "peakBytes"], measured =>
            Assert.True(file.GetProperty(measured).GetProperty("low").GetDouble() > 0));
        foreach (var (texts, count) in ((string, int)[])[("single", 1), ("batched", batch)])
        {
            var (seconds, rate) = (file.GetProperty(texts).GetProperty("seconds"), file.GetProperty(texts).GetProperty("textsPerSecond"));
            Assert.InRange(seconds.GetProperty("low").GetDouble(), double.Epsilon, seconds.GetProperty("high").GetDouble());
            Assert.InRange(rate.GetProperty("median").GetDouble() * seconds.GetProperty("median").GetDouble() / count, 0.2, 5);
        }
    }
}
