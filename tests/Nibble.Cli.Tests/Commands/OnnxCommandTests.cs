using Nibble.Formats.CompressedTensors;
using Nibble.Artifacts;
using Nibble.Numerics;

namespace Nibble.Cli.Tests.Commands;

/// <summary><c>nibble export --to onnx</c>, and <c>nibble verify --engine onnxruntime</c> in ONNX Runtime itself.</summary>
[Collection(OneAtATime.Name)]
public sealed class OnnxCommandTests : IDisposable
{
    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task ExportSaysHowLayersWereWritten()
    {
        await CommandRun.Succeeds("ptq", folder.Model, "--recipe", "w4a16-g32", "--output", folder.At("w4"));
        var run = await CommandRun.Succeeds("export", folder.At("w4"), "--to", "onnx", "-o", folder.At("w4.onnx"), "--json");

        Assert.Equal("nibble.export/1", run.Json.GetProperty("schema").GetString());
        Assert.Equal("onnx", run.Json.GetProperty("format").GetString());
        Assert.Equal(7, run.Json.GetProperty("types").GetProperty("MatMulNBits 4").GetInt32());
        Assert.Equal(1, run.Json.GetProperty("types").GetProperty("MatMul").GetInt32());
        Assert.Equal(7, run.Json.GetProperty("quantized").GetArrayLength());
        Assert.Equal(["model.embed_tokens", "lm_head"], run.Json.GetProperty("kept").EnumerateArray().Select(layer => layer.GetProperty("name").GetString()));
        Assert.Equal(new FileInfo(folder.At("w4.onnx")).Length, run.Json.GetProperty("bytes").GetInt64());

        var again = await CommandRun.Of("export", folder.At("w4"), "--to", "onnx", "-o", folder.At("w4.onnx"));
        Assert.Equal(ExitCode.BadInput, again.ExitCode);
        Assert.Contains("exists already", again.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ProductsInBytesAreAskedForAndSaidToDiffer()
    {
        await CommandRun.Succeeds("ptq", folder.Model, "--recipe", "w4a16-g16", "--output", folder.At("w4"));
        var run = await CommandRun.Succeeds("export", folder.At("w4"), "--to", "onnx", "--accuracy-level", "4", "-o", folder.At("fast.onnx"));
        Assert.Contains("note: MatMulNBits rounds inputs to 8 bits in blocks", run.Output, StringComparison.Ordinal);

        var strict = await Verify(folder.At("w4"), "--file", folder.At("fast.onnx"));
        Assert.Equal(ExitCode.NoSolution, strict.ExitCode);
        var lenient = await Verify(folder.At("w4"), "--file", folder.At("fast.onnx"), "--logit-tolerance", "1", "--tolerance", "2");
        Assert.Equal(ExitCode.Done, lenient.ExitCode);
    }

    [Fact]
    public async Task TensorsGoToASecondFileBeyondALimit()
    {
        var run = await CommandRun.Succeeds("export", folder.Model, "--to", "onnx", "-o", folder.At("split.onnx"), "--inline-megabytes", "0");
        Assert.Contains("8 MatMul", run.Output, StringComparison.Ordinal);
        Assert.Contains($"note: the tensors are in {folder.At("split.onnx.data")}", run.Output, StringComparison.Ordinal);
        var verdict = (await Verify(folder.Model, "--file", folder.At("split.onnx"))).Output;
        Assert.Contains("in onnxruntime (+0.000%)", verdict, StringComparison.Ordinal);
        Assert.Contains("verdict     same", verdict, StringComparison.Ordinal);

        File.Delete(folder.At("split.onnx"));
        var occupied = await CommandRun.Of("export", folder.Model, "--to", "onnx", "-o", folder.At("split.onnx"));
        Assert.Equal(ExitCode.BadInput, occupied.ExitCode);
        Assert.Contains("split.onnx.data", occupied.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("w4a4-g32-rotated", "rotates its input by a Hadamard matrix")]
    [InlineData("w4a16-g32-kv8", "quantizes the key-value cache")]
    public async Task ExportRefusesWhatNoGraphExpresses(string recipe, string reason)
    {
        await CommandRun.Succeeds("ptq", folder.Model, "--recipe", recipe, "--data", folder.TrainingText, "--output", folder.At("other"));
        var run = await CommandRun.Of("export", folder.At("other"), "--to", "onnx", "-o", folder.At("other.onnx"));

        Assert.Equal(ExitCode.BadInput, run.ExitCode);
        Assert.Contains(reason, run.Error, StringComparison.Ordinal);
        Assert.Contains(". Quantize without", run.Error, StringComparison.Ordinal);
        Assert.False(File.Exists(folder.At("other.onnx")));
    }

    [Theory]
    [InlineData(null)]
    [InlineData("w2a16-g32")]
    public async Task VerifyFindsTheSame(string? recipe)
    {
        var model = folder.Model;
        if (recipe is not null)
        {
            await CommandRun.Succeeds("ptq", model, "--recipe", recipe, "--output", folder.At("quantized"));
            model = folder.At("quantized");
        }

        var run = await Verify(model, "--json");
        Assert.Equal("same", run.Json.GetProperty("verdict").GetString());
        Assert.Equal("onnxruntime", run.Json.GetProperty("engine").GetString());
        Assert.InRange(run.Json.GetProperty("largestDifference").GetDouble(), 0, 1e-4);
        Assert.InRange(run.Json.GetProperty("ownLargestDifference").GetDouble(), 0, 1e-4);
        Assert.Equal(run.Json.GetProperty("greedyTokens").GetInt32(), run.Json.GetProperty("sameGreedyTokens").GetInt32());
    }

    [Theory]
    [InlineData("w8a8-static", "2000")]
    [InlineData("w8a8", "2000")]
    [InlineData("w4a8-g8", "0")]
    public async Task VerifyDecidesTiesBetweenCodesAsTheFileDoes(string recipe, string inlineMegabytes)
    {
        await CommandRun.Succeeds("ptq", folder.Model, "--recipe", recipe, "--data", folder.TrainingText, "--output", folder.At("quantized"));
        await CommandRun.Succeeds("export", folder.At("quantized"), "--to", "onnx", "-o", folder.At("file.onnx"), "--inline-megabytes", inlineMegabytes);
        var run = await Verify(folder.At("quantized"), "--file", folder.At("file.onnx"), "--json");

        var ties = run.Json.GetProperty("ties");
        Assert.Equal("same", run.Json.GetProperty("verdict").GetString());
        Assert.Equal(3 * 32 * ((6 * 16) + 40), ties.GetProperty("codes").GetInt64());
        Assert.Equal(0, ties.GetProperty("mismatches").GetInt64());
        Assert.InRange(ties.GetProperty("largestDifference").GetDouble(), 0, 1e-4);
        Assert.True(ties.GetProperty("sameLogits").GetBoolean());
        Assert.Contains("of a step from the tie (0.01 allowed); with ties decided as in the engine, 0 codes differ, and logits differ by ",
            (await Verify(folder.At("quantized"), "--file", folder.At("file.onnx"))).Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("w8a8-static", "a fixed scale of the input, by a thousandth")]
    [InlineData("w8a8", "the weights' scales, to the next of float16")]
    [InlineData("w4a8-g8", "one code of the weights, by one")]
    public async Task VerifyFindsWhatALayerOfTheFileHasOtherwise(string recipe, string what)
    {
        const string Layer = "model.layers.0.self_attn.v_proj";
        await CommandRun.Succeeds("ptq", folder.Model, "--recipe", recipe, "--data", folder.TrainingText, "--output", folder.At("quantized"));
        var quantized = QuantizedModelFile.Load(folder.At("quantized"));
        QuantizedModelFile.Save(
            quantized with { Layers = [.. quantized.Layers.Select(layer => layer.Name == Layer ? Altered(layer) : layer)] }, folder.At("altered"),
            cancellation: TestContext.Current.CancellationToken);
        await CommandRun.Succeeds("export", folder.At("altered"), "--to", "onnx", "-o", folder.At("altered.onnx"));

        var run = await Verify(folder.At("quantized"), "--file", folder.At("altered.onnx"), "--json");
        double Number(string name) => run.Json.GetProperty(name).GetDouble();
        Assert.Equal("differs", run.Json.GetProperty("verdict").GetString());
        Assert.InRange(run.Json.GetProperty("ties").GetProperty("mismatches").GetInt64(), 1, long.MaxValue);
        Assert.Equal(what[0] == 'a' ? Layer : "model.layers.0.self_attn.o_proj", run.Json.GetProperty("ties").GetProperty("firstMismatch").GetString());

        // Perplexities alone would be within the tolerance.
        Assert.InRange(Number("enginePerplexity") / Number("simulatedPerplexity"), 0.995, 1.005);

        QuantizedLayer Altered(QuantizedLayer layer)
        {
            var (weight, input) = (layer.Weight, layer.Input!);
            QuantizedTensor With(sbyte[] codes, float[] scales) =>
                new(weight.Rows, weight.Columns, weight.Scheme, codes, scales, weight.ZeroPoints, weight.GroupIndex);
            return what[0] switch
            {
                'a' => layer with
                {
                    Input = input with
                    {
                        Static = new QuantizationParameters(
                    input.Static!.Value.Scale * 1.001f, input.Static.Value.ZeroPoint)
                    }
                },
                't' => layer with { Weight = With(weight.Codes, [.. weight.Scales.Select(scale => (float)Half.BitIncrement((Half)scale))]) },
                _ => layer with
                {
                    Weight = With(
                    [(sbyte)(weight.Codes[0] > 0 ? weight.Codes[0] - 1 : weight.Codes[0] + 1), .. weight.Codes[1..]], weight.Scales)
                },
            };
        }
    }

    [Fact]
    public async Task VerifyFindsEveryCodeMissingInAFileWithFloatInputs()
    {
        await CommandRun.Succeeds("ptq", folder.Model, "--recipe", "w8a8", "--output", folder.At("quantized"));
        await CommandRun.Succeeds("export", folder.Model, "--to", "onnx", "-o", folder.At("float.onnx"));
        var run = await Verify(folder.At("quantized"), "--file", folder.At("float.onnx"), "--json");

        var ties = run.Json.GetProperty("ties");
        Assert.Equal("differs", run.Json.GetProperty("verdict").GetString());
        Assert.Equal(ties.GetProperty("codes").GetInt64(), ties.GetProperty("mismatches").GetInt64());
    }

    [Fact]
    public async Task VerifyEndsWithAnotherCodeWhereTheFileIsOfAnotherModel()
    {
        await CommandRun.Succeeds("export", folder.Model, "--to", "onnx", "-o", folder.At("first.onnx"));
        folder.WriteWeights(_ => true, seed: 8);
        var run = await Verify(folder.Model, "--file", folder.At("first.onnx"));

        Assert.Equal(ExitCode.NoSolution, run.ExitCode);
        Assert.EndsWith("verdict     differs", run.Output.TrimEnd(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task VerifyJudgesLogitsByThemselves()
    {
        var run = await Verify(folder.Model, "--logit-tolerance", "0");
        Assert.Equal(ExitCode.NoSolution, run.ExitCode);
    }

    [Fact]
    public async Task VerifySaysWhichFileIsMissing()
    {
        var run = await Verify(folder.Model, "--file", folder.At("none.onnx"));
        Assert.Equal(ExitCode.BadInput, run.ExitCode);
        Assert.Contains("none.onnx", run.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(null, 0)]
    [InlineData("w4a16-g32", 7)]
    [InlineData("w8a8-static", 7)]
    public async Task AFileAloneIsVerifiedImportedAndExportedAgain(string? recipe, int layers)
    {
        var model = folder.Model;
        if (recipe is not null)
        {
            await CommandRun.Succeeds("ptq", model, "--recipe", recipe, "--data", folder.TrainingText, "--output", folder.At("quantized"));
            model = folder.At("quantized");
        }

        await CommandRun.Succeeds("export", model, "--to", "onnx", "-o", folder.At("first/model.onnx"));
        var verified = await CommandRun.Succeeds(
            "verify", folder.At("first/model.onnx"), "--data", folder.EvaluationText, "--context", "32", "--windows", "3", "--json");
        string Text(string name) => verified.Json.GetProperty(name).GetString()!;
        Assert.Equal(("same", "onnxruntime", "first"), (Text("verdict"), Text("engine"), Text("model")));

        var imported = await CommandRun.Succeeds("import", folder.At("first/model.onnx"), "-o", folder.At("imported"), "--json");
        Assert.Equal(("onnx", "first", layers),
            (imported.Json.GetProperty("format").GetString(), imported.Json.GetProperty("model").GetString(), imported.Json.GetProperty("layers").GetInt32()));
        Assert.Empty(imported.Json.GetProperty("notes").EnumerateArray());
        await CommandRun.Succeeds("export", folder.At("imported"), "--to", "onnx", "-o", folder.At("second/model.onnx"));
        Assert.Equal(TinyFolder.ContentOf(folder.At("first")), TinyFolder.ContentOf(folder.At("second")));
        if (recipe is not null)
        {
            Assert.Equal(TinyFolder.ContentOf(model), TinyFolder.ContentOf(folder.At("imported")));
        }

        string[] score = ["--data", folder.EvaluationText, "--context", "32", "--threads", "1", "--json"];
        var (before, after) = (await CommandRun.Succeeds(["eval", model, .. score]), await CommandRun.Succeeds(["eval", folder.At("imported"), .. score]));
        Assert.Equal(before.Perplexity, after.Perplexity);
    }

    [Fact]
    public async Task WhatIsNotedOfAFileIsSaidWhereItIsVerified()
    {
        await CommandRun.Succeeds("ptq", folder.Model, "--recipe", "w4a16-g16", "--output", folder.At("w4"));
        await CommandRun.Succeeds("export", folder.At("w4"), "--to", "onnx", "--accuracy-level", "4", "-o", folder.At("fast/model.onnx"));
        var run = await CommandRun.Of("verify", folder.At("fast/model.onnx"), "--data", folder.EvaluationText, "--context", "32", "--windows", "3");
        Assert.Equal(ExitCode.NoSolution, run.ExitCode);
        Assert.Contains("note: the file's MatMulNBits nodes round inputs to 8 bits in blocks", run.Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("import", "-o")]
    [InlineData("verify", "--data")]
    public async Task AFileThatIsNoneOfOursIsRefused(string command, string option)
    {
        var run = await CommandRun.Of(command, folder.Write("foreign.onnx", "foreign"), option, folder.At("other"));
        Assert.Equal(ExitCode.BadInput, run.ExitCode);
        Assert.Contains("foreign.onnx is no", run.Error, StringComparison.Ordinal);
        Assert.False(Path.Exists(folder.At("other")));
    }

    private Task<CommandRun> Verify(string model, params string[] further) =>
        CommandRun.Of(["verify", model, "--data", folder.EvaluationText, "--engine", "onnxruntime", "--context", "32", "--windows", "3", .. further]);
}
