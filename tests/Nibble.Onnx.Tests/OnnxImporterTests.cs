using Nibble.Formats.CompressedTensors;
using Nibble.Files;
using Nibble.Artifacts;
using Nibble.Cli.Engines;
using Nibble.Numerics;
using Nibble.Onnx.Tests.Shared;
using Nibble.Recipes;
using Nibble.Tests.Shared;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;
using Nibble.Torch.Tests.Models.Bert;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests;

/// <summary>What was exported comes back as it was, and is exported again to the byte.</summary>
public sealed class OnnxImporterTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public static TheoryData<string> Layouts =>
        ["w8a16-g32", "w4a16-g32", "w4a16-g16-sym", "w4a16-g8", "w3a16-g16", "w2a16-g32", "wta16-g16", "w2a16-g16-stretched", "w5a16", "w4a16-po2", "w8a8",
        "w8a8-static", "w4a8-g32", "w4a8-static-g8", "w8a4-static-g16"];

    public void Dispose() => folder.Dispose();

    [Theory]
    [MemberData(nameof(Layouts))]
    public void AQuantizedDecoderComesBack(string recipe)
    {
        var (_, notes) = RoundTrip.RequireSame(Quantize(new TinyLlama(), recipe), folder);
        Assert.Empty(notes);
    }

    [Theory]
    [InlineData("qwen2", true, "", "w4a16-g16")]
    [InlineData("qwen2", false, "", "w8a8-static")]
    [InlineData("llama", true, ""","attention_bias":true,"mlp_bias":true""", "w8a8")]
    [InlineData("llama", false, ""","rope_scaling":{"rope_type":"llama3","factor":4,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":16}""", "w4a16-g16")]
    [InlineData("qwen3", false, "", "w4a16-g16")]
    [InlineData("mistral", true, ""","sliding_window":40""", "w2a16-g16")]
    public void EveryKindOfDecoderComesBack(string type, bool tied, string further, string recipe)
    {
        var tiny = new TinyLlama { Type = type, Tied = tied, Further = further };
        RoundTrip.RequireSame(Quantize(tiny, recipe), folder);
        using var other = new TemporaryFolder();
        RoundTrip.RequireSame(folder.File("tiny"), other);
    }

    [Theory]
    [InlineData(ElementType.F32)]
    [InlineData(ElementType.F16)]
    [InlineData(ElementType.BF16)]
    public void NarrowFloatsComeBackNarrow(ElementType type)
    {
        var tiny = new TinyLlama { StoredAs = type };
        RoundTrip.RequireSame(Quantize(tiny, "w4a16-g16"), folder);
        using var other = new TemporaryFolder();
        RoundTrip.RequireSame(folder.File("tiny"), other);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("w4a16-g16")]
    [InlineData("w8a8-static")]
    public void TensorsInASecondFileComeBack(string? recipe)
    {
        var model = Quantize(new TinyLlama(), recipe ?? "w8a8");
        RoundTrip.RequireSame(recipe is null ? folder.File("tiny") : model, folder, inlineLimit: 0);
        Assert.True(new FileInfo(folder.File("second/model.onnx.data")).Length > 10_000);
    }

    [Fact]
    public void ProductsInBytesAreNoted()
    {
        var (_, notes) = RoundTrip.RequireSame(Quantize(new TinyLlama(), "w4a16-g16"), folder, accuracy: MatMulAccuracy.Int8);
        Assert.Contains("accuracy level 4", Assert.Single(notes), StringComparison.Ordinal);
    }

    [Fact]
    public void ScatteredGroupsComeBack()
    {
        var model = Quantize(new TinyLlama(), "w4a16-g8");
        var artifact = QuantizedModelFile.Load(model);
        var layers = artifact.Layers.Select((layer, index) => index % 2 == 0 ? layer : layer with { Weight = Scattered(layer.Weight, index) }).ToList();
        QuantizedModelFile.Save(artifact with { Layers = layers }, folder.File("scattered"));
        RoundTrip.RequireSame(folder.File("scattered"), folder);
    }

    [Fact]
    public void WhatNoGraphUsesDoesNotComeBack()
    {
        const string Frequencies = "model.layers.0.self_attn.rotary_emb.inv_freq";
        var artifact = QuantizedModelFile.Load(Quantize(new TinyLlama(), "w4a16-g16"));
        QuantizedModelFile.Save(
            artifact with { FloatTensors = [.. artifact.FloatTensors, new FloatTensor(Frequencies, [4], [1, 2, 3, 4], ElementType.F32)] }, folder.File("with"));
        OnnxExport.Run(folder.File("with"), folder.File("first/model.onnx"), 2_000_000_000);
        OnnxExport.Run(folder.File("artifact"), folder.File("second/model.onnx"), 2_000_000_000);
        Assert.Equal(File.ReadAllBytes(folder.File("first/model.onnx")), File.ReadAllBytes(folder.File("second/model.onnx")));

        // A head that repeats the embedding.
        var tied = new TinyLlama { Tied = true };
        var model = tied.Write(folder.File("tied"), tensors => tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]);
        OnnxExport.Run(model, folder.File("third/model.onnx"), 2_000_000_000);
        FileImport.Run(folder.File("third/model.onnx"), folder.File("imported"));
        OnnxExport.Run(folder.File("imported"), folder.File("fourth/model.onnx"), 2_000_000_000);
        Assert.Equal(File.ReadAllBytes(folder.File("third/model.onnx")), File.ReadAllBytes(folder.File("fourth/model.onnx")));
    }

    [Fact]
    public void WithoutATokenizerTheFolderHasNone()
    {
        var model = Quantize(new TinyLlama(), "w4a16-g16");
        File.Delete(Path.Combine(model, "tokenizer.json"));
        var (_, notes) = RoundTrip.RequireSame(model, folder);
        Assert.Contains("there is no tokenizer next to model.onnx", Assert.Single(notes), StringComparison.Ordinal);
    }

    [Fact]
    public void NamesOfFoldersMakeNoDifferenceAndNoPathIsInTheFile()
    {
        var model = Quantize(new TinyLlama(), "w4a16-g16");
        Directory.Move(model, folder.File("elsewhere"));
        OnnxExport.Run(folder.File("elsewhere"), folder.File("a.onnx"), 2_000_000_000);
        Directory.Move(folder.File("elsewhere"), model);
        OnnxExport.Run(model, folder.File("b.onnx"), 2_000_000_000);
        Assert.Equal(File.ReadAllBytes(folder.File("a.onnx")), File.ReadAllBytes(folder.File("b.onnx")));
        Assert.Equal(-1, File.ReadAllBytes(folder.File("a.onnx")).AsSpan().IndexOf(System.Text.Encoding.UTF8.GetBytes(folder.Path)));
    }

    [Theory]
    [InlineData("bert")]
    [InlineData("roberta")]
    [InlineData("distilbert")]
    public void AFloatEncoderComesBack(string type) => RoundTrip.RequireSame(new TinyBert(type).Write(folder.File("float")), folder);

    [Theory]
    [MemberData(nameof(Layouts))]
    public void AQuantizedEncoderComesBack(string recipe)
    {
        using var loaded = new TinyBert().Open(folder);
        RoundTrip.RequireSame(QuantizedBert.Write(loaded, RecipePresets.Parse(recipe), folder.File("artifact")), folder);
    }

    [Theory]
    [InlineData("roberta", "w4a16-g8")]
    [InlineData("distilbert", "w8a8-static")]
    public void EveryKindOfEncoderComesBack(string type, string recipe)
    {
        using var loaded = new TinyBert(type).Open(folder);
        RoundTrip.RequireSame(QuantizedBert.Write(loaded, RecipePresets.Parse(recipe), folder.File("artifact")), folder, inlineLimit: 0);
        using var imported = LoadedModel.Open(folder.File("imported"));
        Assert.NotNull(imported.Quantized);
    }

    /// <summary>Rows of 172 columns, which groups of 32 do not divide.</summary>
    [Theory]
    [InlineData(null)]
    [InlineData("w8a16-g32")]
    [InlineData("w4a16-g32")]
    [InlineData("w4a16-g32-sym")]
    [InlineData("w2a16-g32")]
    [InlineData("w8a8")]
    [InlineData("w8a8-static")]
    [InlineData("w4a8-g32")]
    public void ARealModelComesBackWithItsPerplexity(string? recipe)
    {
        var model = SharedData.Require("stories260K");
        using var source = LoadedModel.Open(model);
        var text = Texts.TinyStories("valid.txt", source);
        if (recipe is not null)
        {
            QuantizedModelFile.Save(
                PostTrainingQuantizer.Run(source, RecipePresets.Parse(recipe), Texts.TinyStories("train.txt", source), seed: 1), folder.File("artifact"));
            model = folder.File("artifact");
        }

        var (imported, _) = RoundTrip.RequireSame(model, folder);
        using LoadedModel before = LoadedModel.Open(model), after = LoadedModel.Open(imported);
        Assert.Equal(Score(before, text), Score(after, text));
    }

    private static double Score(LoadedModel model, Torch.Data.TokenizedText text) => Evaluator.Evaluate(model.Decoder, text, 256, windows: 2).Perplexity;

    private static QuantizedTensor Scattered(QuantizedTensor weight, int seed)
    {
        int[] groups = [.. Enumerable.Range(0, weight.Columns).Select(column => column / 8)];
        new Random(seed).Shuffle(groups);
        return new QuantizedTensor(weight.Rows, weight.Columns, weight.Scheme, weight.Codes, weight.Scales, weight.ZeroPoints, groups);
    }

    private string Quantize(TinyLlama tiny, string recipe)
    {
        using var loaded = tiny.Open(folder);
        QuantizedModelFile.Save(PostTrainingQuantizer.Run(loaded, RecipePresets.Parse(recipe), Texts.Random(600), seed: 1), folder.File("artifact"));
        return folder.File("artifact");
    }
}
