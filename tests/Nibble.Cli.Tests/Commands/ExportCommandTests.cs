using Nibble.Formats.CompressedTensors;
using Nibble.Cli.Comparison;
using Nibble.Cli.Engines;
using Nibble.Formats.Gguf;
using Nibble.Tests.Shared;

namespace Nibble.Cli.Tests.Commands;

/// <summary><c>nibble export</c> and <c>nibble verify</c>; what runs in llama.cpp is skipped where it is not installed.</summary>
[Collection(OneAtATime.Name)]
public sealed class ExportCommandTests : IDisposable
{
    /// <summary>With AVX-512, llama.cpp has kernels whose rounding is not the one that verify explains. Fixed tolerances take its place.</summary>
    private static readonly string[] OtherKernels =
        System.Runtime.Intrinsics.X86.Avx512F.IsSupported ? ["--tolerance", "0.5", "--logit-tolerance", "1"] : [];

    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task ExportWritesCodesAndSaysWhatItWrote()
    {
        await CommandRun.Succeeds("ptq", BuiltInModel.Folder, "--recipe", "w4a16-g32", "--output", folder.At("w4"));
        var run = await CommandRun.Succeeds("export", folder.At("w4"), "--to", "gguf", "-o", folder.At("w4.gguf"), "--json");

        Assert.Equal("nibble.export/1", run.Json.GetProperty("schema").GetString());
        Assert.Equal(28, run.Json.GetProperty("types").GetProperty("Q4_1").GetInt32());
        Assert.Contains("of a step", run.Json.GetProperty("notes")[0].GetString(), StringComparison.Ordinal);
        using var file = GgufFile.Open(folder.At("w4.gguf"));
        Assert.Equal(3, file.Find("general.file_type")!.AsInteger());

        var exact = await CommandRun.Succeeds("export", folder.At("w4"), "--to", "gguf", "-o", folder.At("exact.gguf"), "--type", "q5_0");
        Assert.DoesNotContain("note", exact.Output, StringComparison.Ordinal);
        Assert.Contains("28 Q5_0", exact.Output, StringComparison.Ordinal);
        Assert.Contains("quantized   28 layers to int4 asymmetric per group 32 (Q5_0)\n", exact.Output, StringComparison.Ordinal);
        Assert.Contains("kept float  1 layer: no codes (model.embed_tokens)\n", exact.Output, StringComparison.Ordinal);
        Assert.Equal((28, 1), (run.Json.GetProperty("quantized").GetArrayLength(), run.Json.GetProperty("kept").GetArrayLength()));
    }

    [Fact]
    public async Task ExportRefusesWhatNoBlockHoldsAndSaysWhichSchemeWouldBeExact()
    {
        await CommandRun.Succeeds("ptq", BuiltInModel.Folder, "--recipe", "w4a16-g16", "--output", folder.At("g16"));
        var run = await CommandRun.Of("export", folder.At("g16"), "--to", "gguf", "-o", folder.At("g16.gguf"));
        Assert.Equal(ExitCode.BadInput, run.ExitCode);
        Assert.Contains("no block type can hold", run.Error, StringComparison.Ordinal);
        Assert.Contains("symmetric weights of 2 to 4 bits in Q4_0", run.Error, StringComparison.Ordinal);
        Assert.False(File.Exists(folder.At("g16.gguf")));
        var floats = await CommandRun.Succeeds("export", folder.At("g16"), "--to", "gguf", "-o", folder.At("g16.gguf"), "--type", "f16");
        Assert.Contains("kept float  28 layers: F16 was requested, which stores the dequantized values (model.layers.0.", floats.Output,
            StringComparison.Ordinal);

        var occupied = await CommandRun.Of("export", folder.At("g16"), "--to", "gguf", "-o", folder.At("g16.gguf"));
        Assert.Equal(ExitCode.BadInput, occupied.ExitCode);
        Assert.Contains("exists already", occupied.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("gptq")]
    [InlineData("gptq-v2")]
    [InlineData("awq")]
    public async Task CheckpointsComeBackAsTheyWere(string format)
    {
        await CommandRun.Succeeds("ptq", BuiltInModel.Folder, "--recipe", "w4a16-g32-sym", "--output", folder.At("w4"));
        var exported = await CommandRun.Succeeds("export", folder.At("w4"), "--to", format, "-o", folder.At("first"), "--json");
        var imported = await CommandRun.Succeeds("import", folder.At("first"), "-o", folder.At("artifact"), "--json");
        await CommandRun.Succeeds("export", folder.At("artifact"), "--to", format, "-o", folder.At("second"));

        Assert.Equal((format, 28), (exported.Json.GetProperty("format").GetString(), exported.Json.GetProperty("types").GetProperty("INT4").GetInt32()));
        Assert.Equal(("nibble.import/1", format, 28),
            (imported.Json.GetProperty("schema").GetString(), imported.Json.GetProperty("format").GetString(), imported.Json.GetProperty("layers").GetInt32()));
        Assert.Equal(0, imported.Json.GetProperty("notes").GetArrayLength());
        foreach (var document in new[] { exported.Json, imported.Json })
        {
            Assert.Equal("model.embed_tokens", Assert.Single(document.GetProperty("kept").EnumerateArray()).GetProperty("name").GetString());
            Assert.Equal(28, document.GetProperty("quantized").EnumerateArray().Count(layer =>
                layer.GetProperty("weights").GetString()!.StartsWith("int4 ", StringComparison.Ordinal)));
        }

        Assert.Equal(TinyFolder.ContentOf(folder.At("first")), TinyFolder.ContentOf(folder.At("second")));
        var weights = QuantizedModelFile.Load(folder.At("artifact")).Layers.ToDictionary(layer => layer.Name, layer => layer.Weight.Dequantize());
        Assert.All(QuantizedModelFile.Load(folder.At("w4")).Layers, layer => Assert.Equal(layer.Weight.Dequantize(), weights[layer.Name]));
        await CommandRun.Succeeds("generate", folder.At("artifact"), "--prompt", "Once", "--max-tokens", "2");

        // The checkpoint itself is evaluated like its artifact.
        string[] score = ["--data", BuiltInModel.EvaluationText, "--windows", "1", "--threads", "1", "--json"];
        var direct = await CommandRun.Succeeds(["eval", folder.At("first"), .. score]);
        var ours = await CommandRun.Succeeds(["eval", folder.At("w4"), .. score]);
        Assert.Equal(ours.Perplexity, direct.Perplexity, 1e-9);
        await CommandRun.Succeeds("inspect", folder.At("first"));
    }

    [Fact]
    public async Task OnnxFilesOfOtherToolsAreSaidNotToBeSupported()
    {
        // A model of pytorch's with an empty graph.
        await File.WriteAllBytesAsync(folder.At("other.onnx"), [0x08, 0x08, 0x12, 0x07, .. "pytorch"u8, 0x3A, 0x00], TestContext.Current.CancellationToken);
        var import = await CommandRun.Of("import", folder.At("other.onnx"), "-o", folder.At("none"));
        var eval = await CommandRun.Of("eval", folder.At("other.onnx"), "--data", BuiltInModel.EvaluationText);
        var ptq = await CommandRun.Of("ptq", folder.At("other.onnx"), "--recipe", "w4a16-g32", "-o", folder.At("none"));

        Assert.Contains("ONNX files of other tools are not supported (this one is from pytorch)", import.Error, StringComparison.Ordinal);
        Assert.All([eval, ptq], run => Assert.Contains("is an ONNX file, which is not supported here", run.Error, StringComparison.Ordinal));
        Assert.All([import, eval, ptq], run => Assert.Equal(ExitCode.BadInput, run.ExitCode));
        Assert.False(Path.Exists(folder.At("none")));
    }

    [Theory]
    [InlineData("w8a16-g32-sym", null)]
    [InlineData("w5a16-g32", null)]
    [InlineData("w4a16-g32-sym", null)]
    [InlineData("w4a16-g32", null)]
    [InlineData("w4a16-g32", "q5_0")]
    [InlineData("w4a16-g32-sym", "q8_0")]
    [InlineData("w3a16-g64", null)]
    [InlineData("w2a16-g32-stretched", null)]
    [InlineData("wta16-g256", null)]
    [InlineData("wta16-g256", "tq1_0")]
    [InlineData(null, null)]
    public async Task AGgufFileComesBackAsItWas(string? recipe, string? type)
    {
        var model = BuiltInModel.Folder;
        if (recipe is not null)
        {
            await CommandRun.Succeeds("ptq", model, "--recipe", recipe, "--output", folder.At("quantized"));
            model = folder.At("quantized");
        }

        string[] asked = type is null ? [] : ["--type", type];
        await CommandRun.Succeeds(["export", model, "--to", "gguf", "-o", folder.At("first.gguf"), .. asked]);
        var imported = await CommandRun.Succeeds("import", folder.At("first.gguf"), "-o", folder.At("imported"), "--json");
        await CommandRun.Succeeds(["export", folder.At("imported"), "--to", "gguf", "-o", folder.At("second.gguf"), .. asked]);

        Assert.Equal((recipe is null ? 0 : 28, recipe is null ? 29 : 1),
            (imported.Json.GetProperty("quantized").GetArrayLength(), imported.Json.GetProperty("kept").GetArrayLength()));
        Assert.Equal((recipe is null ? 0 : 28, "gguf"), (imported.Json.GetProperty("layers").GetInt32(), imported.Json.GetProperty("format").GetString()));
        Assert.Equal(await File.ReadAllBytesAsync(folder.At("first.gguf"), TestContext.Current.CancellationToken),
            await File.ReadAllBytesAsync(folder.At("second.gguf"), TestContext.Current.CancellationToken));
        string[] score = ["--data", BuiltInModel.EvaluationText, "--windows", "1", "--threads", "1", "--json"];
        var (before, after) = (await CommandRun.Succeeds(["eval", model, .. score]), await CommandRun.Succeeds(["eval", folder.At("imported"), .. score]));
        Assert.Equal(before.Perplexity, after.Perplexity, 0.002);
    }

    [Fact]
    public async Task AGgufFileThatAnotherToolMadeIsReadAndRunsTheSame()
    {
        // Made by llama.cpp's converter: with names, tokens and metadata that nobody here chose.
        var run = await CommandRun.Succeeds("import", SharedData.Require("stories260K/stories260K.gguf"), "-o", folder.At("stories"));
        Assert.Contains("the folder is a float checkpoint", run.Output, StringComparison.Ordinal);
        var score = await CommandRun.Succeeds(
            "eval", folder.At("stories"), "--data", SharedData.Require("tinystories/valid.txt"), "--windows", "20", "--threads", "1", "--json");
        Assert.Equal(3.7886, score.Perplexity, 0.0005);

        LlamaCpp.RequireFolder();
        await CommandRun.Succeeds("quantize", SharedData.Require("stories260K/stories260K.gguf"), "--type", "q4_0", "-o", folder.At("q4.gguf"));
        var verified = await CommandRun.Succeeds(
            "verify", folder.At("q4.gguf"), "--data", SharedData.Require("tinystories/valid.txt"), "--windows", "4", "--threads", "1", "--json");
        Assert.Equal(("same", "q4"), (verified.Json.GetProperty("verdict").GetString(), verified.Json.GetProperty("model").GetString()));

        var typed = await CommandRun.Of("verify", folder.At("q4.gguf"), "--data", "text", "--type", "q4_0");
        var elsewhere = await CommandRun.Of("verify", folder.At("q4.gguf"), "--data", "text", "--engine", "onnxruntime");
        Assert.Contains("a GGUF file is exported already", typed.Error, StringComparison.Ordinal);
        Assert.Contains("A GGUF file runs unchanged in llama.cpp", elsewhere.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ImportSaysWhereALabelLiesAndWhatIsNoCheckpoint()
    {
        await CommandRun.Succeeds("ptq", BuiltInModel.Folder, "--recipe", "w4a16-g32-sym", "--output", folder.At("w4"));
        await CommandRun.Succeeds("export", folder.At("w4"), "--to", "gptq-v2", "-o", folder.At("lies"));
        var config = Path.Combine(folder.At("lies"), "config.json");
        await File.WriteAllTextAsync(
            config, (await File.ReadAllTextAsync(config, TestContext.Current.CancellationToken)).Replace("\"gptq_v2\"", "\"gptq\"", StringComparison.Ordinal),
            TestContext.Current.CancellationToken);

        var lying = await CommandRun.Succeeds("import", folder.At("lies"), "-o", folder.At("out"));
        var floating = await CommandRun.Of("import", BuiltInModel.Folder, "-o", folder.At("none"));
        var ours = await CommandRun.Of("import", folder.At("w4"), "-o", folder.At("none"));
        var exported = await CommandRun.Of("export", BuiltInModel.Folder, "--to", "awq", "-o", folder.At("none"));
        var typed = await CommandRun.Of("export", folder.At("w4"), "--to", "awq", "--type", "q4_0", "-o", folder.At("none"));

        Assert.Contains("labelled version 1 (gptq), but its zero points are those of version 2 (gptq_v2), and Nibble read them as such", lying.Output,
            StringComparison.Ordinal);
        Assert.Contains("has no quantization_config, and there is no quantize_config.json", floating.Error, StringComparison.Ordinal);
        Assert.Contains("is an artifact of Nibble and needs no import", ours.Error, StringComparison.Ordinal);
        Assert.Contains("a float model has no codes to write", exported.Error, StringComparison.Ordinal);
        Assert.Contains("--type is for GGUF, but --to is awq", typed.Error, StringComparison.Ordinal);
        Assert.Equal((ExitCode.BadInput, ExitCode.BadInput, ExitCode.BadInput, ExitCode.Usage),
            (floating.ExitCode, ours.ExitCode, exported.ExitCode, typed.ExitCode));
        Assert.False(Path.Exists(folder.At("none")));
    }

    [Fact]
    public async Task ExportKeepsRaggedRowsInHalfPrecision()
    {
        await CommandRun.Succeeds("ptq", folder.Model, "--recipe", "w4a16-g32", "--output", folder.At("tiny"));
        var run = await CommandRun.Succeeds("export", folder.At("tiny"), "--to", "gguf", "-o", folder.At("tiny.gguf"));
        Assert.Contains("7 quantized matrices are written as F16", run.Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(null, 64)]
    [InlineData("w8a16-g32-sym", 64)]
    [InlineData("w4a16-g32-sym", 0)]
    [InlineData("w4a16-g32", 0)]
    [InlineData("wta16-g256", 0)]
    public async Task TheBuiltInModelIsTheSameInLlamaCpp(string? recipe, int greedy)
    {
        LlamaCpp.RequireFolder();
        var model = BuiltInModel.Folder;
        if (recipe is not null)
        {
            await CommandRun.Succeeds("ptq", model, "--recipe", recipe, "--output", folder.At("quantized"), "--threads", "1");
            model = folder.At("quantized");
        }

        var run = await CommandRun.Succeeds("verify", model, "--data", BuiltInModel.EvaluationText, "--windows", "4", "--threads", "1", "--json");
        Assert.Equal("same", run.Json.GetProperty("verdict").GetString());
        Assert.InRange(run.Json.GetProperty("sameGreedyTokens").GetInt32(), greedy, 64);
        Assert.InRange(run.Json.GetProperty("agreement").GetDouble(), 0.97, 1);
    }

    /// <summary>The file, read back, computes what llama.cpp computes from it: biases of queries and keys stand in the order of their rows.</summary>
    [Fact]
    public async Task BiasesOfAttentionAreTheSameInLlamaCppFromAFileAlone()
    {
        LlamaCpp.RequireFolder();
        folder.AddAttentionBiases();
        await CommandRun.Succeeds("export", folder.Model, "--to", "gguf", "--type", "f32", "-o", folder.At("biased.gguf"));
        var run = await CommandRun.Succeeds(
            ["verify", folder.At("biased.gguf"), "--data", folder.EvaluationText, "--windows", "1", "--threads", "1", "--json", .. OtherKernels]);
        Assert.Equal("same", run.Json.GetProperty("verdict").GetString());
        Assert.InRange(run.Json.GetProperty("kl").GetDouble(), 0, 1e-4);
    }

    [Theory]
    [InlineData("q6_k")]
    [InlineData("q5_k_m")]
    [InlineData("q4_k_m")]
    [InlineData("q3_k_m")]
    [InlineData("q2_k")]
    [InlineData("tq2_0")]
    public async Task AFileThatWasQuantizedIsTheSameInLlamaCpp(string type)
    {
        LlamaCpp.RequireFolder();
        await CommandRun.Succeeds("export", BuiltInModel.Folder, "--to", "gguf", "--type", "f16", "-o", folder.At("f16.gguf"));
        await CommandRun.Succeeds("quantize", folder.At("f16.gguf"), "--type", type, "-o", folder.At("small.gguf"));
        var run = await CommandRun.Succeeds(
            "verify", folder.At("small.gguf"), "--data", BuiltInModel.EvaluationText, "--windows", "4", "--threads", "1", "--json");
        Assert.Equal("same", run.Json.GetProperty("verdict").GetString());
        Assert.InRange(run.Json.GetProperty("agreement").GetDouble(), 0.95, 1);
    }

    [Fact]
    public async Task VerifyEndsWithAnotherCodeWhereTheEngineDiffers()
    {
        LlamaCpp.RequireFolder();
        await CommandRun.Succeeds("ptq", BuiltInModel.Folder, "--recipe", "w4a16-g32-sym", "--output", folder.At("w4"));
        var run = await CommandRun.Of("verify", folder.At("w4"), "--data", BuiltInModel.EvaluationText, "--windows", "1", "--threads", "1", "--tolerance", "0");
        Assert.Equal(ExitCode.NoSolution, run.ExitCode);
        Assert.EndsWith("differs", run.Output.TrimEnd(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task VerifySaysWhereLlamaCppIsLookedFor()
    {
        var run = await CommandRun.Of("verify", BuiltInModel.Folder, "--data", BuiltInModel.EvaluationText, "--engine-path", folder.Root);
        Assert.Equal(ExitCode.NativeLibrary, run.ExitCode);
        Assert.Contains("give the folder of llama.cpp's shared libraries", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task VerifySaysThatLlamaCppCannotBeLoaded()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "the libraries' names are Linux's");
        folder.Write("libllama.so", "no library");
        var run = await CommandRun.Of("verify", BuiltInModel.Folder, "--data", BuiltInModel.EvaluationText, "--engine-path", folder.Root);
        Assert.Equal(ExitCode.NativeLibrary, run.ExitCode);
        Assert.Contains("cannot be loaded", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void TheEngineTellsWhyItRefusesAFile()
    {
        var libraries = LlamaCpp.RequireFolder();
        var exception = Assert.Throws<NibbleException>(() => LlamaCppEngine.Start(libraries, folder.Write("no.gguf", "GGUF"), 64, 1).Dispose());
        Assert.Matches(@"cannot load \S+/no\.gguf: \S+/no\.gguf\W.*", exception.Message);
    }

    [Theory]
    [InlineData("gguf:q8_0", false, 0)]
    [InlineData("gguf:q5_1", false, 0)]
    [InlineData("gguf:q5_0", false, 0)]
    [InlineData("gguf:q4_1", false, 0)]
    [InlineData("gguf:q4_0", false, 0)]
    [InlineData("gguf:tq2_0", false, 0)]
    [InlineData("gguf:q8_0", true, 0)]
    [InlineData("gguf:q4_1", true, 0)]
    [InlineData("gguf:q4_0", true, 0)]
    [InlineData("gguf:tq2_0", true, 0)]
    public async Task WhatWasQuantizedOrTrainedForATargetIsInItsBlocksAndRunsTheSame(string target, bool train, int greedy)
    {
        string[] training = train ? ["--data", BuiltInModel.TrainingText, "--steps", "2"] : [];
        await CommandRun.Succeeds(
            [train ? "qat" : "ptq", BuiltInModel.Folder, "--target", target, "--output", folder.At("quantized"), "--threads", "1", .. training]);
        var run = await CommandRun.Succeeds("export", folder.At("quantized"), "--to", "gguf", "-o", folder.At("model.gguf"), "--json");
        Assert.Equal(28, run.Json.GetProperty("types").GetProperty(target["gguf:".Length..].ToUpperInvariant()).GetInt32());

        LlamaCpp.RequireFolder();
        var verified = await CommandRun.Succeeds(
            "verify", folder.At("quantized"), "--file", folder.At("model.gguf"), "--data", BuiltInModel.EvaluationText, "--windows", "4", "--threads", "1",
            "--json");
        Assert.Equal("same", verified.Json.GetProperty("verdict").GetString());
        Assert.InRange(verified.Json.GetProperty("sameGreedyTokens").GetInt32(), greedy, 64);
    }

    [Fact]
    public async Task EmbeddingsAreRoundedWhereAsked()
    {
        await CommandRun.Succeeds("ptq", BuiltInModel.Folder, "--target", "gguf:q4_0", "--output", folder.At("w4"));
        await CommandRun.Succeeds("export", folder.At("w4"), "--to", "gguf", "-o", folder.At("plain.gguf"));
        var run = await CommandRun.Succeeds("export", folder.At("w4"), "--to", "gguf", "-o", folder.At("first.gguf"), "--embeddings", "q8_0", "--json");
        Assert.Equal(1, run.Json.GetProperty("types").GetProperty("Q8_0").GetInt32());
        Assert.True(new FileInfo(folder.At("first.gguf")).Length < new FileInfo(folder.At("plain.gguf")).Length);

        // What is read from blocks of bytes rounds to the same bytes.
        await CommandRun.Succeeds("import", folder.At("first.gguf"), "-o", folder.At("imported"));
        await CommandRun.Succeeds("export", folder.At("imported"), "--to", "gguf", "-o", folder.At("second.gguf"), "--embeddings", "q8_0");
        Assert.Equal(await File.ReadAllBytesAsync(folder.At("first.gguf"), TestContext.Current.CancellationToken),
            await File.ReadAllBytesAsync(folder.At("second.gguf"), TestContext.Current.CancellationToken));

        var elsewhere = await CommandRun.Of("export", folder.At("w4"), "--to", "onnx", "-o", folder.At("w4.onnx"), "--embeddings", "q8_0");
        Assert.Contains("--embeddings is for GGUF, but --to is onnx", elsewhere.Error, StringComparison.Ordinal);
        var ragged = await CommandRun.Of("export", SharedData.Require("stories260K"), "--to", "gguf", "-o", folder.At("ragged.gguf"), "--embeddings", "q6_k");
        Assert.Contains("the rows of token_embd.weight have 64 values, which are not whole blocks of Q6_K (256)", ragged.Error, StringComparison.Ordinal);

        LlamaCpp.RequireFolder();
        var verified = await CommandRun.Succeeds(
            "verify", folder.At("w4"), "--file", folder.At("first.gguf"), "--data", BuiltInModel.EvaluationText, "--windows", "4", "--threads", "1", "--json");
        Assert.Equal("same", verified.Json.GetProperty("verdict").GetString());
    }

    [Fact]
    public async Task RowsThatATargetCannotHoldStayFloat()
    {
        await CommandRun.Succeeds(
            "ptq", SharedData.Require("stories260K"), "--recipe", "w4a16-g32-gptq", "--data", SharedData.Require("tinystories/train.txt"), "--windows", "4",
            "--target", "gguf:q4_0", "--output", folder.At("stories"));
        var run = await CommandRun.Succeeds("export", folder.At("stories"), "--to", "gguf", "-o", folder.At("stories.gguf"), "--json");
        Assert.Equal((30, 0), (run.Json.GetProperty("types").GetProperty("Q4_0").GetInt32(), run.Json.GetProperty("notes").GetArrayLength()));
    }

    [Theory]
    [InlineData(null, null, 3.7886, 64)]
    [InlineData("ptq", "w8a16-g32-sym", null, 64)]
    [InlineData("ptq", "w4a16-g32-sym", null, 0)]
    [InlineData("ptq", "w4a16-g32", null, 0)]
    [InlineData("qat", "w8a16-g32-sym", null, 0)]
    [InlineData("qat", "w4a16-g32-sym", null, 0)]
    [InlineData("qat", "w4a16-g32", null, 0)]
    public async Task Stories260KIsTheSameInLlamaCpp(string? method, string? recipe, double? perplexity, int greedy)
    {
        LlamaCpp.RequireFolder();
        var model = SharedData.Require("stories260K");
        if (recipe is not null)
        {
            string[] training = method == "qat" ? ["--data", SharedData.Require("tinystories/train.txt"), "--steps", "2", "--threads", "1"] : [];
            await CommandRun.Succeeds([method!, model, "--recipe", recipe, "--output", folder.At("stories"), .. training]);
            model = folder.At("stories");
        }

        string[] windows = ["--windows", perplexity is null ? "4" : "20"];
        var run = await CommandRun.Succeeds(["verify", model, "--data", SharedData.Require("tinystories/valid.txt"), "--threads", "1", "--json", .. windows,
            .. OtherKernels]);
        Assert.InRange(run.Json.GetProperty("sameGreedyTokens").GetInt32(), greedy, 64);
        Assert.Equal(perplexity ?? run.Json.GetProperty("enginePerplexity").GetDouble(), run.Json.GetProperty("enginePerplexity").GetDouble(), 0.0005);
    }
}
