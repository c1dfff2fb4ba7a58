using System.Text.Json.Nodes;
using Nibble.Export;
using Nibble.Files;
using Nibble.Formats.HuggingFace;
using Nibble.Formats.Safetensors;
using Nibble.Torch.Models;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Models;

/// <summary>Models with a vision tower, of which only the language model is read.</summary>
public sealed class TextPartTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    /// <summary>The names of older and of newer files, with the inner type named and not.</summary>
    [Theory]
    [InlineData("gemma3", "gemma3", "language_model.model.", "language_model.lm_head.", false)]
    [InlineData("gemma3", "gemma3", "model.language_model.", "lm_head.", true)]
    [InlineData("mistral3", "phi3", "language_model.model.", "language_model.lm_head.", true)]
    [InlineData("llava", "llama-dynamic", "model.language_model.", "lm_head.", true)]
    public void LogitsAreThoseOfTheLanguageModel(string outer, string name, string body, string head, bool named)
    {
        var reference = ReferenceDecoder.Load(name);
        using var model = LoadedModel.Open(Write(reference, outer, body, head, named));
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        var logits = model.Decoder.Logits(tensor(reference.Tokens, 1, reference.Tokens.Length))[0];
        foreach (var (position, expected) in reference.Positions.Zip(reference.Logits))
        {
            Assert.All(logits[position].data<float>().ToArray().Zip(expected), pair => Assert.Equal(pair.Second, pair.First, 1e-4));
        }
    }

    [Fact]
    public void WhatIsLeftOutIsSaid()
    {
        var model = Write(ReferenceDecoder.Load("gemma3"), "gemma3", "language_model.model.", "language_model.lm_head.", named: true);
        Assert.EndsWith("only the language model of this gemma3 is read (text_config); other parts (vision_config) are left out", TextPart.Omitted(model),
            StringComparison.Ordinal);
        Assert.Null(TextPart.Omitted(ReferenceDecoder.Load("gemma3").Write(folder.File("text"))));
    }

    /// <summary>A file of the language model alone is the same, wherever it comes from.</summary>
    [Fact]
    public void ExportsAreThoseOfTheLanguageModel()
    {
        var reference = ReferenceDecoder.Load("gemma3");
        GgufExporter.Run(Write(reference, "gemma3", "model.language_model.", "lm_head.", named: true), folder.File("part.gguf"), type: null);
        GgufExporter.Run(reference.Write(folder.File("model")), folder.File("whole.gguf"), type: null);
        Assert.Equal(File.ReadAllBytes(folder.File("whole.gguf")), File.ReadAllBytes(folder.File("part.gguf")));
    }

    private string Write(ReferenceDecoder reference, string outer, string body, string head, bool named)
    {
        var path = reference.Write(folder.File("whole/model"));
        var text = JsonNode.Parse(reference.ConfigJson)!.AsObject();
        var tied = text["tie_word_embeddings"]!.GetValue<bool>();
        text.Remove("tie_word_embeddings");
        if (!named)
        {
            text.Remove("model_type");
        }

        var whole = new JsonObject
        {
            ["model_type"] = outer,
            ["architectures"] = new JsonArray("ForConditionalGeneration"),
            ["tie_word_embeddings"] = tied,
            ["text_config"] = text,
            ["vision_config"] = new JsonObject { ["hidden_size"] = 8 },
        };
        File.WriteAllText(Path.Combine(path, "config.json"), whole.ToJsonString());
        var tensors = reference.Tensors().Select(tensor => SafetensorsTensor.FromFloats(
            tensor.Name.StartsWith("model.", StringComparison.Ordinal) ? body + tensor.Name["model.".Length..]
                : tensor.Name.Replace("lm_head.", head, StringComparison.Ordinal), ElementType.F32, tensor.Shape, tensor.Values));
        SafetensorsWriter.Write(
            Path.Combine(path, "model.safetensors"),
            [.. tensors, SafetensorsTensor.FromFloats("vision_tower.patch.weight", ElementType.F32, [2, 2], new float[4])]);
        return path;
    }
}
