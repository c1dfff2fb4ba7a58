using Nibble.Formats.CompressedTensors;
using System.Text;
using Google.Protobuf;
using Nibble.Cli.Engines;
using Nibble.Onnx.Graphs;
using Nibble.Recipes;
using Nibble.Tests.Shared;
using Nibble.Torch.Ptq;
using Nibble.Torch.Tests.Models.Bert;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests;

/// <summary>Files that are none of Nibble's, or no longer.</summary>
public sealed class OnnxImportFaultTests : IDisposable
{
    private const string Query = "model.layers.0.self_attn.q_proj.weight";
    private const string Down = "model.layers.1.mlp.down_proj.weight";

    private static readonly Dictionary<string, Action<ModelProto>> Faults = new(StringComparer.Ordinal)
    {
        ["have neither nibble.artifact nor nibble.config"] = model => model.MetadataProps.Clear(),
        ["ONNX files of other tools are not supported (this one is from pytorch"] = model =>
        {
            model.MetadataProps.Clear();
            model.ProducerName = "pytorch";
        },
        ["is not valid JSON"] = model => Artifact(model, text => text[..^5]),
        ["is not a valid manifest"] = model => Artifact(model, text => text.Replace("\"layers\"", "\"players\"", StringComparison.Ordinal)),
        ["names the layer 'model.layers.0.self_attn.q_proj' twice"] = model =>
            Artifact(model, text => text.Replace("model.layers.0.self_attn.k_proj", "model.layers.0.self_attn.q_proj", StringComparison.Ordinal)),
        ["names the tensor 'model.norm.weight' twice"] = model =>
            Artifact(model, text => text.Replace("model.embed_tokens.weight", "model.norm.weight", StringComparison.Ordinal)),
        ["it holds 'model.layers.7.self_attn.k_proj'"] = model =>
            Artifact(model, text => text.Replace("\"floatTensors\"", "\"before\": 0,\n  \"floatTensors\"", StringComparison.Ordinal)
            .Replace("\"model.norm.weight\"", "\"model.norm.weight\", \"model.layers.7.self_attn.k_proj\"", StringComparison.Ordinal)),
        ["tensor 'model.layers.0.self_attn.q_proj.weight' is missing"] = model =>
            Artifact(model, text => text.Replace("model.layers.0.self_attn.q_proj", "model.layers.9.self_attn.q_proj", StringComparison.Ordinal)),
        ["has shape [258, 16], expected [16777216, 16]"] = model =>
            Artifact(model, text => text.Replace("vocab_size\\\":258", "vocab_size\\\":16777216", StringComparison.Ordinal)),
        ["too few for the 67108864 x 16 codes"] = model =>
            Artifact(model, text => text.Replace("head_dim\\\":8", "head_dim\\\":16777216", StringComparison.Ordinal)),
        ["tensor 'model.layers.2.input_layernorm.weight' is missing"] = model =>
            Artifact(model, text => text.Replace("num_hidden_layers\\\":2", "num_hidden_layers\\\":16777216", StringComparison.Ordinal)),
        ["'vocab_size' is 2147483647, expected"] = model =>
            Artifact(model, text => text.Replace("vocab_size\\\":258", "vocab_size\\\":2147483647", StringComparison.Ordinal)),
        ["model_type is 'gpt2'"] = model =>
            Artifact(model, text => text.Replace("model_type\\\":\\\"llama", "model_type\\\":\\\"gpt2", StringComparison.Ordinal)),
        ["expected UINT8 [32, 1, 4]"] = model => Artifact(model, text => text.Replace("\"bits\": 4", "\"bits\": 2", StringComparison.Ordinal)),
        ["tensor 'model.norm.weight' holds Infinity at [0], expected finite values"] = model =>
            Bytes(model, "model.norm.weight", bytes => BitConverter.TryWriteBytes(bytes, float.PositiveInfinity)),
        ["there is no tensor '" + Query + ".codes'"] = model => Remove(model, Query + ".codes"),
        ["there is no tensor '" + Query + ".scales', expected FLOAT [32, 1]"] = model => Remove(model, Query + ".scales"),
        ["there is no tensor '" + Query + ".zero_points'"] = model => Remove(model, Query + ".zero_points"),
        ["tensor 'model.norm.weight' is missing"] = model => Remove(model, "model.norm.weight"),
        ["has shape [2, 8], expected [16]"] = model => Dims(model, "model.norm.weight", 2, 8),
        ["tensor 'model.norm.weight' has type INT32, expected FLOAT, FLOAT16, BFLOAT16"] = model =>
            Tensor(model, "model.norm.weight").DataType = (int)OnnxType.Int32,
        ["is INT32 [32, 1], expected FLOAT [32, 1]"] = model => Tensor(model, Query + ".scales").DataType = (int)OnnxType.Int32,
        ["is FLOAT [1, 32], expected FLOAT [32, 1]"] = model => Dims(model, Query + ".scales", 1, 32),
        ["too few for the 32 x 16 codes"] = model => Tensor(model, Query + ".codes").ClearRawData(),
        ["has scales that are not positive Float16 values"] = model => Bytes(model, Query + ".scales", bytes => bytes.AsSpan(0, 4).Fill(0xFF)),
        ["'" + Query[..^7] + "' has scales that are not positive"] = model => Bytes(model, Query + ".scales", bytes => bytes[0] ^= 1),
        ["tensor '" + Down + ".codes' holds values that its scheme cannot produce"] = model => Bytes(model, Down + ".codes", bytes => bytes[15] ^= 1),
    };

    private static readonly byte[][] Pieces =
    [
        [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], [0xFF, 0xFF, 0xFF, 0xFF, 0x07], [0x80, 0x80, 0x80, 0x80, 0x80, 0x01], [0x3A],
        [0x2A, 0x00], [0x0B], [0xC3, 0x28], [0x00], .. ((string[])[
            "{", "}", "[", "]", "\"", ",", ":", "null", "-1", "0", "99", "2147483647", "1e30", "NaN", "true", "\\ud800", "group_1", "model.norm.weight",
            ".transposed", ".weight.codes", "\"symmetric\": true", "\"granularity\": \"channel\"", "\"bits\": 3",
            "activations", "keyValueCache: ", "\"groupIndex\": true,", "\"shape\": [1, 2, 3],", "\"inputTransform\": \"hadamard\",", "token", "tensor",
        ]).Select(Encoding.UTF8.GetBytes),
    ];

    private readonly TemporaryFolder folder = new();

    public static TheoryData<string> Said => [.. Faults.Keys];

    public void Dispose() => folder.Dispose();

    [Theory]
    [MemberData(nameof(Said))]
    public void WhatIsWrongIsSaid(string expected)
    {
        var model = Quantized("w4a16-g16");
        Faults[expected](model);
        File.WriteAllBytes(folder.File("edited.onnx"), model.ToByteArray());
        var message = Assert.Throws<NibbleException>(() => FileImport.Run(folder.File("edited.onnx"), folder.File("imported"))).Message;
        Assert.Contains(expected, message, StringComparison.Ordinal);
        Assert.Contains("edited.onnx", message, StringComparison.Ordinal);
        Assert.False(Directory.Exists(folder.File("imported")));
    }

    [Fact]
    public void AnInputThatIsNoLongerQuantizedIsTold()
    {
        var model = Quantized("w8a8-static");
        model.Graph.Node.First(node =>
            node.OpType == "DequantizeLinear" && node.Input[0].EndsWith("QuantizeLinear", StringComparison.Ordinal)).OpType = "Identity";
        Assert.Contains(
            "comes from a Identity, but the metadata say it is quantized",
            Assert.Throws<NibbleException>(() => Import(model.ToByteArray())).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void AFolderIsNoFile()
    {
        using var tensors = ModelTensors.Open(new TinyLlama().Write(folder.File("tiny")));
        Assert.Throws<ArgumentException>(() => OnnxImporter.Run(tensors, folder.File("imported")));
    }

    [Theory]
    [InlineData("node")]
    [InlineData("constant")]
    [InlineData("inputs and outputs")]
    public void AnotherGraphAroundTheSameTensorsIsNoted(string what)
    {
        var model = Quantized("w4a16-g16");
        switch (what)
        {
            case "node":
                model.Graph.Node.First(node => node.OpType == "Sigmoid").OpType = "Tanh";
                break;
            case "constant":
                Bytes(model, "rotary_frequencies", bytes => bytes[0] ^= 1);
                break;
            default:
                model.Graph.Output.Add(model.Graph.Output[0].Clone());
                break;
        }

        File.WriteAllBytes(folder.File("edited.onnx"), model.ToByteArray());
        var note = FileImport.Run(folder.File("edited.onnx"), folder.File("imported")).Notes[0];
        Assert.Contains($"(first difference: the {what}", note, StringComparison.Ordinal);
        Assert.Equal(14, QuantizedModelFile.Load(folder.File("imported")).Layers.Count);
    }

    /// <summary>Bytes anywhere in the file: in the metadata, among nodes, shapes and weights.</summary>
    [Theory]
    [InlineData("w4a16-g16")]
    [InlineData("w4a8-static-g8")]
    [InlineData(null)]
    public void AMutatedFileIsReadOrRefused(string? recipe)
    {
        var valid = (recipe is null ? Float() : Quantized(recipe)).ToByteArray();
        RequireReadOrRefused(mutations => mutations.Of(valid, Pieces), iterations: 5000);
    }

    /// <summary>Every change is one of the metadata.</summary>
    [Theory]
    [InlineData("w4a16-g16")]
    [InlineData("w8a8-static")]
    [InlineData(null)]
    public void MutatedMetadataAreReadOrRefused(string? recipe)
    {
        var model = recipe is null ? Float() : Quantized(recipe);
        var entry = model.MetadataProps.Single(entry => entry.Key is OnnxMetadata.Artifact or OnnxMetadata.Config);
        var (rest, text) = (model.Clone(), Encoding.UTF8.GetBytes(entry.Value));
        rest.MetadataProps.Clear();
        var bytes = rest.ToByteArray();
        RequireReadOrRefused(
            mutations =>
            {
                // Messages that stand one after the other are one message.
                var metadata = new ModelProto
                {
                    MetadataProps = { new StringStringEntryProto { Key = entry.Key,
                    Value = Encoding.UTF8.GetString(mutations.Of(text, Pieces)) } }
                };
                return [.. bytes, .. metadata.ToByteArray()];
            },
            iterations: 5000);
    }

    private void RequireReadOrRefused(Func<Mutations, byte[]> mutate, int iterations)
    {
        var read = 0;
        Mutations.Any.Sample(
            mutations =>
            {
                try
                {
                    Import(mutate(mutations));
                    read++;
                }
                catch (NibbleException)
                {
                    Assert.False(Directory.Exists(folder.File("imported")));
                }
            },
            iter: iterations,
            threads: 1);
        Assert.InRange(read, 10, iterations - 10);
    }

    /// <summary>Imports a file, and opens what came of it where that is an artifact.</summary>
    private void Import(byte[] bytes)
    {
        using var stream = new MemoryStream(bytes);
        using var tensors = ModelTensors.Of(OnnxFile.Read(folder.File("exported/model.onnx"), stream, _ => null));
        var imported = folder.File("imported");
        var layers = OnnxImporter.Run(tensors, imported).Layers;
        try
        {
            Assert.Equal(layers, QuantizedModelFile.IsArtifact(imported) ? QuantizedModelFile.Load(imported).Layers.Count : 0);
        }
        catch (NibbleException exception)
        {
            Assert.Fail($"What was imported cannot be opened: {exception.Message}");
        }
        finally
        {
            Directory.Delete(imported, recursive: true);
        }
    }

    private ModelProto Quantized(string recipe)
    {
        using var loaded = new TinyLlama().Open(folder);
        QuantizedModelFile.Save(PostTrainingQuantizer.Run(loaded, RecipePresets.Parse(recipe), Texts.Random(600), seed: 1), folder.File("artifact"));
        return Exported(folder.File("artifact"));
    }

    private ModelProto Float() => Exported(new TinyBert().Write(folder.File("float")));

    private ModelProto Exported(string model)
    {
        OnnxExport.Run(model, folder.File("exported/model.onnx"), 2_000_000_000);
        return ModelProto.Parser.ParseFrom(File.ReadAllBytes(folder.File("exported/model.onnx")));
    }

    private static void Artifact(ModelProto model, Func<string, string> edit)
    {
        var entry = model.MetadataProps.Single(entry => entry.Key == OnnxMetadata.Artifact);
        var edited = edit(entry.Value);
        Assert.NotEqual(entry.Value, edited);
        entry.Value = edited;
    }

    private static TensorProto Tensor(ModelProto model, string name) => model.Graph.Initializer.Single(tensor => tensor.Name == name);

    private static void Remove(ModelProto model, string name) => model.Graph.Initializer.Remove(Tensor(model, name));

    private static void Dims(ModelProto model, string name, params long[] sizes)
    {
        Tensor(model, name).Dims.Clear();
        Tensor(model, name).Dims.Add(sizes);
    }

    private static void Bytes(ModelProto model, string name, Action<byte[]> edit)
    {
        var bytes = Tensor(model, name).RawData.ToByteArray();
        edit(bytes);
        Tensor(model, name).RawData = ByteString.CopyFrom(bytes);
    }
}
