using Microsoft.ML.OnnxRuntime;
using Nibble.Models.Bert;
using Nibble.Onnx.Engine;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Tests.Shared;
using Nibble.Recipes;
using Nibble.Torch.Models;
using Nibble.Torch.Tests.Models.Bert;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Onnx.Tests.Encoders;

/// <summary>Encoders in ONNX Runtime and in the simulation.</summary>
public sealed class EncoderEngineTests : IDisposable
{
    private const float Rounding = 2e-5f;

    private readonly TemporaryFolder folder = new();

    public static TheoryData<string, string, string> Recipes
    {
        get
        {
            var data = new TheoryData<string, string, string>();
            foreach (var type in BertConfig.SupportedTypes)
            {
                data.Add(type, "w8a16-g16", "MatMulNBits 8");
                data.Add(type, "w4a16-g16", "MatMulNBits 4");
                data.Add(type, "w2a16-g16", "MatMulNBits 2");
                data.Add(type, "w4a16-g8", "DequantizeLinear");
                data.Add(type, "w4a16-g32-stretched", "MatMulNBits 8");
            }

            return data;
        }
    }

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("bert")]
    [InlineData("roberta")]
    [InlineData("distilbert")]
    public void FloatHasTheSimulationsLogits(string type)
    {
        var written = Export(new TinyBert(type).Write(folder.File("float")));
        Assert.Equal(14, written.Forms["MatMul"]);
        Assert.InRange(Difference(folder.File("float")), 0, Rounding);
    }

    [Theory]
    [MemberData(nameof(Recipes))]
    public void QuantizedWeightsHaveTheSimulationsLogits(string type, string recipe, string form)
    {
        var artifact = Quantize(type, recipe);
        Assert.Contains(form, Export(artifact).Forms.Keys);
        Assert.InRange(Difference(artifact), 0, 5 * Rounding);
    }

    [Theory]
    [InlineData("bert", "w8a8", "MatMulInteger")]
    [InlineData("bert", "w8a8-static", "QuantizeLinear")]
    [InlineData("bert", "w4a8-g16", "MatMulNBits 4")]
    [InlineData("roberta", "w8a8", "MatMulInteger")]
    [InlineData("roberta", "w8a8-static", "QuantizeLinear")]
    [InlineData("distilbert", "w8a8", "MatMulInteger")]
    [InlineData("distilbert", "w8a8-static", "QuantizeLinear")]
    public void QuantizedInputsHaveTheSimulationsLogitsButForTies(string type, string recipe, string form)
    {
        var artifact = Quantize(type, recipe);
        Assert.Contains(form, Export(artifact).Forms.Keys);

        // An input between two codes can take either; logits reach from about -1 to 1.
        Assert.InRange(Difference(artifact), 0, 0.05f);
    }

    [Fact]
    public void TablesKeepTheirCodes()
    {
        var preset = RecipePresets.Parse("w4a16-g8");
        using var loaded = new TinyBert().Open(folder);
        Export(QuantizedBert.Write(loaded, preset with { Rules = [preset.Rules[^1] with { Pattern = "*.word_embeddings" }] }, folder.File("artifact")));
        var tensors = ModelProto.Parser.ParseFrom(File.ReadAllBytes(Path)).Graph.Initializer;
        Assert.Equal(TinyBert.Vocabulary * TinyBert.Hidden,
            tensors.Single(tensor => tensor.Name == "bert.embeddings.word_embeddings.weight.codes").RawData.Length);
        Assert.DoesNotContain(tensors, tensor => tensor.Name == "bert.embeddings.word_embeddings.weight");
    }

    [Fact]
    public void OnlyBertAsksForTypesOfTokens()
    {
        foreach (var type in BertConfig.SupportedTypes)
        {
            Export(new TinyBert(type).Write(folder.File(type)));
            var inputs = ModelProto.Parser.ParseFrom(File.ReadAllBytes(Path)).Graph.Input.Select(input => input.Name);
            Assert.Equal(type == "bert" ? ["input_ids", "attention_mask", "token_type_ids"] : (string[])["input_ids", "attention_mask"], inputs);
        }
    }

    [Fact]
    public void OtherTypesOfTokensTakeTheirRowOfTheTable()
    {
        var path = new TinyBert().Write(folder.File("float"));
        Export(path);
        var zeros = Run(new long[6]);
        Assert.True(BothWays.Difference(zeros, Run([0, 0, 0, 1, 1, 1])) > 100 * Rounding);

        // Where both rows are the same, the type says nothing.
        Export(new TinyBert().Write(folder.File("same"), tensors =>
        {
            var table = tensors["bert.embeddings.token_type_embeddings.weight"].Values;
            table.AsSpan(0, TinyBert.Hidden).CopyTo(table.AsSpan(TinyBert.Hidden));
        }));
        Assert.Equal(zeros, Run([0, 0, 0, 1, 1, 1]));
    }

    [Fact]
    public void LongSequencesAreRefused()
    {
        Export(new TinyBert().Write(folder.File("float")));
        using var engine = OnnxRuntimeEncoder.Open(Path, threads: 1);
        Assert.Equal(TinyBert.Labels, engine.Compute(new long[TinyBert.Positions], [.. Enumerable.Repeat(1L, TinyBert.Positions)], TinyBert.Positions).Length);
        Assert.Contains("ONNX Runtime",
            Assert.Throws<NibbleException>(
            () => engine.Compute(new long[TinyBert.Positions + 1], new long[TinyBert.Positions + 1], TinyBert.Positions + 1)).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void WhatTheModelDoesNotUseIsRefused()
    {
        var path = new TinyBert().Write(folder.File("more"), tensors => tensors["bert.embeddings.extra"] = ([1], [1]));
        Assert.Contains("it holds 'bert.embeddings.extra'", Assert.Throws<NibbleException>(() => Export(path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ADecoderIsNoEncoder()
    {
        BothWays.Export(new TinyLlama().Write(folder.File("tiny")), Path);
        Assert.Contains("expected an encoder", Assert.Throws<NibbleException>(() => OnnxRuntimeEncoder.Open(Path, threads: 1)).Message,
            StringComparison.Ordinal);
    }

    private string Path => folder.File("exported.onnx");

    private string Quantize(string type, string recipe)
    {
        using var loaded = new TinyBert(type).Open(folder);
        return QuantizedBert.Write(loaded, RecipePresets.Parse(recipe), folder.File("artifact"));
    }

    private OnnxExportResult Export(string model)
    {
        File.Delete(Path);
        File.Delete(folder.File("vocab.txt"));
        using var tensors = ModelTensors.Open(model);
        return OnnxExporter.Run(tensors, Path);
    }

    /// <summary>The largest difference between logits over batches with padding.</summary>
    private float Difference(string model)
    {
        using var simulated = LoadedModel.Open(model);
        using var engine = OnnxRuntimeEncoder.Open(Path, threads: 1);
        float largest = 0;
        for (var seed = 1; seed <= 5; seed++)
        {
            using var guard = no_grad();
            using var scope = NewDisposeScope();
            var batch = QuantizedBert.Batch((BertConfig)simulated.Definition, seed);
            var found = engine.Compute(batch.Ids.data<long>().ToArray(), batch.Mask!.to(int64).data<long>().ToArray(), (int)batch.Ids.shape[1]);
            largest = Math.Max(largest, BothWays.Difference(simulated.Model.Compute(batch).data<float>().ToArray(), found));
        }

        return largest;
    }

    /// <summary>The logits of one sequence whose tokens are of given types.</summary>
    private float[] Run(long[] types)
    {
        using var session = new InferenceSession(Path);
        long[] shape = [1, types.Length];
        using var ids = OrtValue.CreateTensorValueFromMemory(new long[] { 2, 5, 6, 7, 8, 3 }, shape);
        using var mask = OrtValue.CreateTensorValueFromMemory(new long[] { 1, 1, 1, 1, 1, 1 }, shape);
        using var kinds = OrtValue.CreateTensorValueFromMemory(types, shape);
        using var options = new RunOptions();
        using var results = session.Run(
            options, new Dictionary<string, OrtValue> { ["input_ids"] = ids, ["attention_mask"] = mask, ["token_type_ids"] = kinds }, ["logits"]);
        return results[0].GetTensorDataAsSpan<float>().ToArray();
    }
}
