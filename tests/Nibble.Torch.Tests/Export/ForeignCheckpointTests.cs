using Nibble.Export;
using Nibble.Files;
using Nibble.Formats;
using Nibble.Formats.Safetensors;
using Nibble.Numerics;
using Nibble.Torch.Models;
using Nibble.Torch.Tests.Export.Foreign;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Export;

/// <summary>
/// Checkpoints as other tools wrote them over the years: what is right is read, value for value, and computes; what is not supported is refused by name.
/// </summary>
public sealed class ForeignCheckpointTests : IDisposable
{
    private const string Plain = """{ "bits": 4, "group_size": 8, "quant_method": "gptq" }""";
    private const string GptqModelMeta =
        """
        { "bits": 4, "group_size": 8, "sym": false, "desc_act": false, "quant_method": "gptq", "checkpoint_format": "gptq",
          "meta": { "quantizer": ["gptqmodel:2.0.0"] } }
        """;

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    /// <summary>
    /// AutoGPTQ in 2023: a file of its own for the configuration, which says neither sym nor desc_act; weights under its own name; biases of zeros; buffers
    /// of rotary embeddings.
    /// </summary>
    [Fact]
    public void AutogptqsFirstCheckpoints()
    {
        var source = new ForeignFolder().Quantize(InBlocks, 4, 8, symmetric: true);
        source.Write(
            folder.File("tool"), layer => ForeignPacking.Gptq(layer), quantization: null, weights: "gptq_model-4bit-8g.safetensors",
            further: [.. source.Layers.Select(layer => Zeros(layer.Name + ".bias", layer.Rows)), Zeros("model.layers.0.self_attn.rotary_emb.inv_freq", 4)]);
        File.WriteAllText(folder.File("tool/quantize_config.json"), """{ "bits": 4, "group_size": 8, "damp_percent": 0.01, "true_sequential": true }""");

        var read = AssertSame(source);
        Assert.Equal("gptq", read.Format);
        Assert.Contains(read.Notes, note => note.Contains("12 zero biases", StringComparison.Ordinal));
        Assert.All(read.Model.Layers, layer => Assert.True(layer.Weight.Scheme.Symmetric));
    }

    /// <summary>Without g_idx groups hold neighbours, without sym the zeros tell, without a group size the scales.</summary>
    [Theory]
    [InlineData(Plain, false)]
    [InlineData(Plain, true)]
    [InlineData("""{ "bits": 4, "quant_method": "gptq" }""", true)]
    [InlineData("""{ "bits": 4, "group_size": 8, "sym": true, "desc_act": true, "quant_method": "gptq", "checkpoint_format": "gptq" }""", true)]
    public void WhatIsLeftOutIsToldByTheTensors(string config, bool symmetric)
    {
        var source = new ForeignFolder().Quantize(InBlocks, 4, 8, symmetric);
        source.Write(folder.File("tool"), layer => ForeignPacking.Gptq(layer), config, change: tensors =>
            tensors.Where(tensor => !tensor.Name.EndsWith("g_idx", StringComparison.Ordinal)));

        Assert.All(AssertSame(source).Model.Layers, layer => Assert.Equal(symmetric, layer.Weight.Scheme.Symmetric));
    }

    [Theory]
    [InlineData(2, -1)]
    [InlineData(3, 16)]
    [InlineData(4, -1)]
    [InlineData(8, 4)]
    public void AllWidthsAndGroupSizes(int bits, int group)
    {
        // At 3 bits, 16 inputs are a word and a half; g_idx says how many there are.
        var source = new ForeignFolder().Quantize(name => InBlocks(name) || name == "lm_head", bits, group, symmetric: false);
        source.Write(
            folder.File("tool"), layer => ForeignPacking.Gptq(layer),
            $$"""{ "bits": {{bits}}, "group_size": {{group}}, "sym": false, "desc_act": false, "lm_head": true, "quant_method": "gptq" }""");

        AssertSame(source);
    }

    [Fact]
    public void GroupsOfScatteredColumns()
    {
        var source = new ForeignFolder().Quantize(InBlocks, 4, 8, symmetric: true, scattered: true);
        source.Write(
            folder.File("tool"), layer => ForeignPacking.Gptq(layer),
            """{ "bits": 4, "group_size": 8, "sym": true, "desc_act": true, "quant_method": "gptq" }""");

        Assert.All(AssertSame(source).Model.Layers, layer => Assert.NotNull(layer.Weight.GroupIndex));
    }

    /// <summary>A label of version 1 on zeros of version 2 and the other way, symmetric and not.</summary>
    [Theory]
    [InlineData("gptq", 0, true)]
    [InlineData("gptq_v2", 1, true)]
    [InlineData("gptq", 0, false)]
    [InlineData("gptq_v2", 1, false)]
    public void ZerosAreBelievedWhereTheLabelLies(string label, int less, bool symmetric)
    {
        var source = new ForeignFolder().Quantize(InBlocks, 4, 8, symmetric);
        var random = new Random(3);

        // Weights as models have them, with a mean of about zero: codes lie around the zero point.
        source.Change(_ => true, layer => layer with
        {
            Codes = [.. layer.Codes.Select((_, i) =>
                Math.Clamp(layer.Zeros[(i / layer.Columns * layer.Groups) + layer.GroupOf[i % layer.Columns]] + random.Next(-3, 4), 0, 15))],
            Zeros = [.. layer.Zeros.Select(zero => symmetric ? 8 : Math.Clamp(zero, 4, 11))],
        });
        source.Change(_ => true, layer => layer with
        {
            Codes = [.. layer.Codes.Select((_, i) => layer.Zeros[(i / layer.Columns * layer.Groups) + layer.GroupOf[i % layer.Columns]] + random.Next(-3, 4))],
        });
        source.Write(
            folder.File("tool"), layer => ForeignPacking.Gptq(layer, less),
            $$"""{ "bits": 4, "group_size": 8, "sym": {{(symmetric ? "true" : "false")}}, "desc_act": false, "checkpoint_format": "{{label}}" }""");

        var read = AssertSame(source);
        Assert.Equal(less == 1 ? "gptq" : "gptq-v2", read.Format);
        Assert.Contains(read.Notes, note => note.Contains("and Nibble read them as such", StringComparison.Ordinal));
    }

    /// <summary>Groups without negative weights have the zero point 0, which version 1 stores as -1: alone, or taken off a whole word.</summary>
    [Theory]
    [InlineData(Plain, false, "the way AutoGPTQ reads them")]
    [InlineData(GptqModelMeta, true, "the way GPTQModel, which wrote them, reads them")]
    public void ZeroPointsOfZeroInVersion1(string config, bool borrow, string said)
    {
        var source = new ForeignFolder().Quantize(InBlocks, 4, 8, symmetric: false, leastZero: 5);
        source.Change(_ => true, layer => layer with
        {
            Zeros = [.. layer.Zeros.Select((zero, i) => i % 7 == 2 ? 0 : Math.Min(zero, 13))],
        });
        source.Change(_ => true, layer => layer with
        {
            Codes = [.. layer.Codes.Select((code, i) =>
                layer.Zeros[(i / layer.Columns * layer.Groups) + layer.GroupOf[i % layer.Columns]] is > 0 and var zero ? zero + (code % 5) - 2 : code)],
        });
        source.Write(folder.File("tool"), layer => ForeignPacking.Gptq(layer, 1, borrow), config);

        Assert.Contains(AssertSame(source).Notes, note =>
            note.Contains("zero points are 0, which version 1 stores as -1", StringComparison.Ordinal) && note.Contains(said, StringComparison.Ordinal));
    }

    /// <summary>GPTQModel's <c>dynamic</c>: patterns match from the start, the first that does counts, and changes what it names.</summary>
    [Fact]
    public void LayersWithSchemesOfTheirOwn()
    {
        var source = new ForeignFolder()
            .Quantize(name => InBlocks(name) && name.EndsWith("up_proj", StringComparison.Ordinal), 8, 4, symmetric: true)
            .Quantize(name => InBlocks(name) && name.Contains("layers.1.self_attn", StringComparison.Ordinal), 2, 8, symmetric: false)
            .Quantize(name => InBlocks(name) && !name.EndsWith("gate_proj", StringComparison.Ordinal), 4, 8, symmetric: true);
        source.Write(
            folder.File("tool"), layer => ForeignPacking.Gptq(layer),
            """
            { "bits": 4, "group_size": 8, "sym": true, "desc_act": false, "quant_method": "gptq", "format": "gptq",
              "dynamic": { "-:.*gate_proj": {}, "+:.*\\.up_proj$": { "bits": 8, "group_size": 4 },
                  "model\\.layers\\.1\\.self_attn": { "bits": 2, "sym": false }, "layers": { "bits": 3 } } }
            """);

        var model = AssertSame(source).Model;
        Assert.Equal(8, model.Layers.Single(layer => layer.Name == "model.layers.0.mlp.up_proj").Weight.Scheme.Bits);
        Assert.Equal("int2 asymmetric per group 8", model.Layers.Single(layer => layer.Name == "model.layers.1.self_attn.q_proj").Weight.Scheme.ToString());
    }

    /// <summary>Scales of bfloat16, negative ones (AutoRound's) and zeros, which say that a group is zero; symmetric checkpoints without zeros.</summary>
    [Fact]
    public void OddScales()
    {
        var source = new ForeignFolder().Quantize(InBlocks, 4, 8, symmetric: true);
        source.Change(_ => true, layer => layer with
        {
            Scales = [.. layer.Scales.Select((scale, i) => ElementType.BF16.Round(i % 5 == 0 ? 0 : i % 3 == 0 ? -scale : i % 7 == 0 ? 3e-10f : scale))],
        });
        source.Write(
            folder.File("tool"), layer => ForeignPacking.Gptq(layer),
            """{ "bits": 4, "group_size": 8, "sym": true, "desc_act": false, "quant_method": "gptq" }""",
            change: tensors => tensors.Where(tensor => !tensor.Name.EndsWith("qzeros", StringComparison.Ordinal))
                .Select(tensor => source.Layers.Find(layer => tensor.Name == layer.Name + ".scales") is { } layer
                ? SafetensorsTensor.FromFloats(
                    tensor.Name, ElementType.BF16, tensor.Shape, ForeignPacking.Turned(layer.Scales, (int)tensor.Shape[1], (int)tensor.Shape[0]))
                : tensor));

        AssertSame(source);
    }

    [Fact]
    public void ShardsUnderAnyName()
    {
        var source = new ForeignFolder().Quantize(InBlocks, 4, 8, symmetric: true);
        source.Write(folder.File("tool"), layer => ForeignPacking.Gptq(layer), Plain, weights: "gptq_model-4bit-8g-00001-of-00001.safetensors");
        using (var file = SafetensorsFile.Open(folder.File("tool/gptq_model-4bit-8g-00001-of-00001.safetensors")))
        {
            var map = string.Join(", ", file.Tensors.Select(tensor => $"\"{tensor.Name}\": \"gptq_model-4bit-8g-00001-of-00001.safetensors\""));
            File.WriteAllText(folder.File("tool/gptq_model-4bit-8g.safetensors.index.json"), $$"""{ "metadata": {}, "weight_map": { {{map}} } }""");
        }

        AssertSame(source);
    }

    /// <summary>AutoAWQ's first checkpoints say what they are in quant_config.json, later ones in config.json; both kinds of layout.</summary>
    [Theory]
    [InlineData("GEMM", 8)]
    [InlineData("GEMM", -1)]
    [InlineData("GEMV", 8)]
    [InlineData("GEMV", -1)]
    public void AwqOfBothLayouts(string version, int group)
    {
        var source = new ForeignFolder().Quantize(
            name => InBlocks(name) && !name.Contains("mlp", StringComparison.Ordinal), 4, group, symmetric: false, leastZero: 0);
        var own = folder.File("tool/quant_config.json");
        source.Write(folder.File("tool"), layer => version == "GEMM" ? ForeignPacking.AwqGemm(layer) : ForeignPacking.AwqGemv(layer, 4), quantization: null);
        File.WriteAllText(own, $$"""{ "zero_point": true, "q_group_size": {{group}}, "w_bit": 4, "version": "{{version}}" }""");
        Assert.Equal("awq", AssertSame(source).Format);

        File.Delete(own);
        Directory.Delete(folder.File("float"), recursive: true);
        source.Write(
            folder.File("tool"), layer => version == "GEMM" ? ForeignPacking.AwqGemm(layer) : ForeignPacking.AwqGemv(layer, 1),
            $$"""
            { "quant_method": "awq", "zero_point": true, "group_size": {{group}}, "bits": 4, "version": "{{version.ToLowerInvariant()}}",
              "modules_to_not_convert": ["mlp"] }
            """);
        AssertSame(source);
    }

    /// <summary>
    /// llm-compressor's layouts through the years: zero points as bytes, packed, or left out; words with gaps and without; both kinds of shapes.
    /// </summary>
    [Theory]
    [InlineData(4, "group", true, false, "none", ElementType.I64)]
    [InlineData(4, "group", false, false, "bytes", ElementType.I64)]
    [InlineData(4, "group", false, false, "packed", ElementType.I32)]
    [InlineData(4, "channel", false, false, "packed", ElementType.I64)]
    [InlineData(8, "channel", true, false, "zeros", ElementType.I64)]
    [InlineData(8, "tensor", false, false, "bytes", ElementType.I64)]
    [InlineData(3, "group", false, true, "packed", ElementType.I64)]
    [InlineData(3, "group", false, false, "packed", ElementType.I64)]
    [InlineData(5, "group", true, true, "none", ElementType.I64)]
    [InlineData(6, "channel", false, true, "packed", ElementType.I64)]
    [InlineData(7, "group", false, true, "bytes", ElementType.I64)]
    [InlineData(7, "group", true, false, "none", ElementType.I64)]
    public void CompressedTensorsThroughTheYears(int bits, string strategy, bool symmetric, bool gaps, string zeroPoints, ElementType shape)
    {
        var source = new ForeignFolder().Quantize(InBlocks, bits, strategy == "group" ? 8 : -1, symmetric);
        if (strategy == "tensor")
        {
            source.Change(_ => true, layer =>
                layer with { Scales = [.. layer.Scales.Select(_ => layer.Scales[0])], Zeros = [.. layer.Zeros.Select(_ => layer.Zeros[0])] });
        }

        source.Write(folder.File("tool"), layer => Compressed(layer, strategy, gaps, zeroPoints, shape),
            Config("pack-quantized", "\"Linear\"", bits, strategy, symmetric, key: "compressed"));
        Assert.Equal("compressed-tensors", AssertSame(source).Format);
    }

    /// <summary>
    /// Groups of the configuration by name, by expression and by class; the key and the label of the first versions; scattered columns, and an index that
    /// says nothing.
    /// </summary>
    [Fact]
    public void CompressedTensorsOfSeveralSchemes()
    {
        var source = new ForeignFolder()
            .Quantize(name => name == "model.layers.0.self_attn.q_proj", 8, -1, symmetric: true)
            .Quantize(name => name.StartsWith("model.layers.1.mlp", StringComparison.Ordinal), 4, 8, symmetric: true, scattered: true)
            .Quantize(InBlocks, 4, 8, symmetric: false);
        source.Write(
            folder.File("tool"),
            layer => layer.Bits == 8 ? Compressed(layer, "channel", false, "none", ElementType.I64)
                : layer.Name.StartsWith("model.layers.1.mlp", StringComparison.Ordinal)
                    ? [.. Compressed(layer, "group", false, "none", ElementType.I64),
                        ForeignPacking.Words(layer.Name + ".weight_g_idx", [.. layer.GroupOf.Select(group => (uint)group)], layer.Columns)]
                : [.. Compressed(layer, "group", false, "packed", ElementType.I64),
                    ForeignPacking.Words(layer.Name + ".weight_g_idx", [.. Enumerable.Repeat(uint.MaxValue, layer.Columns)], layer.Columns)],
            $$"""
            { "quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "frozen",
              "ignore": ["lm_head"], "sparsity_config": { "format": "dense" }, "transform_config": {},
              "config_groups": {
                "group_0": { "targets": ["Linear"], "weights": {{Arguments(4, "group", false)}}, "input_activations": null },
                "group_1": { "targets": ["re:.*layers\\.1\\.mlp.*"], "weights": {{Arguments(4, "group", true)}} },
                "group_2": { "targets": ["model.layers.0.self_attn.q_proj"], "weights": {{Arguments(8, "channel", true)}} } } }
            """,
            key: "compression_config");

        var model = AssertSame(source).Model;
        Assert.Equal(2, model.Layers.Count(layer => layer.Weight.GroupIndex is not null));
    }

    /// <summary>Bytes for weights, inputs per token or with a fixed range; zero points of zero are left out.</summary>
    [Theory]
    [InlineData("int-quantized", "token", true, null)]
    [InlineData("int-quantized", "tensor", true, null)]
    [InlineData("int-quantized", "tensor", false, -7)]
    [InlineData("naive-quantized", null, true, null)]
    public void CompressedTensorsInBytes(string format, string? input, bool symmetric, int? zeroPoint)
    {
        var source = new ForeignFolder().Quantize(InBlocks, 8, -1, symmetric: true);
        source.Write(
            folder.File("tool"),
            layer =>
            [
                ForeignPacking.Bytes(layer.Name + ".weight", layer.Codes.Select(code => code - 128), layer.Rows, layer.Columns),
                SafetensorsTensor.FromFloats(layer.Name + ".weight_scale", ElementType.BF16, [layer.Rows, 1],
                    Array.ConvertAll(layer.Scales, scale => ElementType.BF16.Round(scale))),
                .. input == "tensor" ? [SafetensorsTensor.FromFloats(layer.Name + ".input_scale", ElementType.F32, [1], (float[])[0.03f])]
                    : Array.Empty<SafetensorsTensor>(),
                .. zeroPoint is { } zero ? [ForeignPacking.Bytes(layer.Name + ".input_zero_point", [zero], 1)] : Array.Empty<SafetensorsTensor>(),
            ],
            Config(format, "\"Linear\"", 8, "channel", true, input is null ? "null" : $$"""
            { "num_bits": 8, "type": "int", "symmetric": {{(symmetric ? "true" : "false")}}, "strategy": "{{input}}",
              "dynamic": {{(input == "token" ? "true" : "false")}} }
            """));
        source.Change(_ => true, layer => layer with { Scales = Array.ConvertAll(layer.Scales, scale => ElementType.BF16.Round(scale)) });

        var model = AssertSame(source, inputs: input is not null).Model;
        var expected = input switch
        {
            null => null,
            "token" => "int8 symmetric per token",
            _ => $"int8 {(symmetric ? "symmetric" : "asymmetric")} per tensor",
        };
        Assert.All(model.Layers, layer => Assert.Equal(expected, layer.Input?.Scheme.ToString()));
        Assert.Equal(input == "tensor" ? new QuantizationParameters(0.03f, zeroPoint ?? 0) : null, model.Layers[0].Input?.Static);
    }

    /// <summary>An embedding that is quantized is looked up as values, and a head with codes of its own is no copy of it.</summary>
    [Fact]
    public void CompressedEmbeddingsAndHeads()
    {
        var source = new ForeignFolder()
            .Quantize(name => name.EndsWith("embed_tokens", StringComparison.Ordinal) || name == "lm_head" || InBlocks(name), 4, 8, symmetric: true);
        source.Write(folder.File("tool"), layer => Compressed(layer, "group", false, "none", ElementType.I64),
            Config("pack-quantized", "\"Linear\", \"Embedding\"", 4, "group", true));
        var config = folder.File("tool/config.json");
        File.WriteAllText(config, File.ReadAllText(config).Replace("\"tie_word_embeddings\":false", "\"tie_word_embeddings\":true", StringComparison.Ordinal));

        var read = AssertSame(source);
        Assert.Equal(2, read.Notes.Count);
        Assert.DoesNotContain(read.Model.Layers, layer => layer.Name.Contains("embed", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("\"float-quantized\"", null, "format is float-quantized, which holds FP8 weights")]
    [InlineData("\"nvfp4-pack-quantized\"", null, "which holds NVFP4 weights")]
    [InlineData("\"mxfp4-pack-quantized\"", null, "which holds MXFP4 weights")]
    [InlineData("\"marlin-24\"", null, "which holds sparse weights")]
    [InlineData("\"naive-quantized\", \"kv_cache_scheme\": { \"num_bits\": 8, \"type\": \"float\" }", null, "kv_cache_scheme quantizes the key-value cache")]
    [InlineData("\"naive-quantized\", \"sparsity_config\": { \"format\": \"sparse-24-bitmask\" }", null, "sparse weights are not supported")]
    [InlineData("\"naive-quantized\", \"transform_config\": { \"config_groups\": { \"u\": { \"type\": \"hadamard\" } } }", null, "rotates activations")]
    [InlineData("\"naive-quantized\"", "{ \"num_bits\": 8, \"type\": \"float\" }", "type is float of 8 bits (FP8), expected int")]
    [InlineData("\"naive-quantized\"", "{ \"num_bits\": 8, \"type\": \"int\", \"strategy\": \"block\" }",
        "strategy is block, expected tensor, channel, or group")]
    [InlineData("\"naive-quantized\"", "{ \"num_bits\": 16, \"type\": \"int\" }", "num_bits is 16, expected 2 to 8")]
    public void WhatCompressedTensorsHoldBesidesIntegersIsRefusedByName(string format, string? weights, string expected)
    {
        var source = new ForeignFolder().Quantize(InBlocks, 4, 8, symmetric: true);
        source.Write(
            folder.File("tool"), layer => Compressed(layer, "group", false, "none", ElementType.I64),
            $$"""
            { "quant_method": "compressed-tensors", "format": {{format}},
              "config_groups": { "group_0": { "targets": ["Linear"], "weights": {{weights ?? Arguments(4, "group", true)}} } } }
            """);
        AssertRefused(expected);
    }

    [Theory]
    [InlineData("""{ "quant_method": "awq", "version": "gemv_fast", "bits": 4, "group_size": 8 }""",
        "version is gemv_fast, whose tensor layout is specific to one engine's kernels; expected gemm or gemv")]
    [InlineData("""{ "quant_method": "awq", "version": "gemm", "backend": "llm-awq", "bits": 4, "group_size": 8 }""", "of llm-awq")]
    [InlineData("""{ "quant_method": "awq", "version": "gemm", "bits": 8, "group_size": 8 }""", "bits is 8, expected 4")]
    [InlineData("""{ "quant_method": "gptq", "bits": 4, "group_size": 8, "is_marlin_format": true }""", "is_marlin_format is true")]
    [InlineData("""{ "quant_method": "gptq", "bits": 4, "group_size": 8, "checkpoint_format": "marlin" }""", "checkpoint_format is marlin")]
    [InlineData("""{ "quant_method": "gptq", "bits": 4, "group_size": 8, "rotation": "hadamard" }""", "rotation is hadamard")]
    [InlineData("""{ "quant_method": "gptq", "bits": 4, "group_size": 8, "dynamic": { "+:(": {} } }""", "'(' is not a regular expression")]
    [InlineData("""{ "quant_method": "bitsandbytes", "load_in_4bit": true }""", "quantized by bitsandbytes, expected gptq, awq or compressed-tensors")]
    [InlineData("""{ "quant_method": "fp8" }""", "quantized by fp8")]
    [InlineData(
        """
        { "quant_method": "compressed-tensors", "format": "pack-quantized",
          "config_groups": { "g": { "targets": ["model.other"], "weights": { "num_bits": 4 } } } }
        """,
        "holds I32 [")]
    public void WhatIsNotSupportedIsRefusedByName(string config, string expected)
    {
        new ForeignFolder().Quantize(InBlocks, 4, 8, symmetric: true).Write(folder.File("tool"), layer => ForeignPacking.Gptq(layer), config);
        if (expected.StartsWith("holds", StringComparison.Ordinal))
        {
            expected = "no tensor's name ends in .weight_scale";
        }

        AssertRefused(expected);
    }

    /// <summary>A bias that is not zero, a tensor that is missing or of another model: said when it is imported, and not when it is evaluated.</summary>
    [Fact]
    public void TensorsThatTheModelDoesNotHaveAreRefused()
    {
        var source = new ForeignFolder().Quantize(InBlocks, 4, 8, symmetric: true);
        source.Write(
            folder.File("tool"), layer => ForeignPacking.Gptq(layer), Plain,
            further: [SafetensorsTensor.FromFloats("model.layers.0.self_attn.q_proj.bias", ElementType.F32, [1], (float[])[0.5f])]);
        AssertRefused("holds the tensor 'model.layers.0.self_attn.q_proj.bias', which a model of type 'llama' with this config.json does not use");

        source.Write(folder.File("tool"), layer => ForeignPacking.Gptq(layer), Plain, change: tensors =>
            tensors.Where(tensor => !tensor.Name.StartsWith("model.layers.1.self_attn.v_proj", StringComparison.Ordinal)));
        AssertRefused("lacks the tensor 'model.layers.1.self_attn.v_proj.weight'");
    }

    [Theory]
    [InlineData("model.bin", "can run any program when it is loaded")]
    [InlineData("model.pt", "can run any program when it is loaded")]
    [InlineData("model.safetensors", "give its folder")]
    public void FilesOfOtherKindsAreRefusedByName(string name, string expected)
    {
        File.WriteAllText(folder.File(name), "text");
        var error = Assert.Throws<NibbleException>(() => CheckpointImporter.Run(folder.File(name), folder.File("out")));
        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
    }

    /// <summary>A folder whose weights are PyTorch's alone, and commands that need float weights.</summary>
    [Fact]
    public void WhatFloatWeightsAreNeededForSaysSo()
    {
        var source = new ForeignFolder().Quantize(InBlocks, 4, 8, symmetric: true);
        source.Write(folder.File("tool"), layer => ForeignPacking.Gptq(layer), Plain, weights: "gptq_model-4bit-8g.safetensors");
        const string Expected = "the weights are quantized already, by gptq";
        var opened = Assert.Throws<NibbleException>(() => FloatCheckpoint.Open(folder.File("tool")));
        Assert.Contains(Expected, opened.Message, StringComparison.Ordinal);
        var exported = Assert.Throws<NibbleException>(() => GgufExporter.Run(folder.File("tool"), folder.File("out.gguf"), type: null));
        Assert.Contains(Expected, exported.Message, StringComparison.Ordinal);

        File.Move(folder.File("tool/gptq_model-4bit-8g.safetensors"), folder.File("tool/gptq_model-4bit-8g.bin"));
        AssertRefused("holds gptq_model-4bit-8g.bin. Expected weights in model.safetensors");
    }

    /// <summary>Reads the tool's folder, imports and opens it, and compares with the folder of float values: every tensor, and what is computed.</summary>
    private QuantizedCheckpoint AssertSame(ForeignFolder source, bool inputs = false)
    {
        var read = CheckpointImporter.Read(folder.File("tool"));
        var expected = source.Layers.ToDictionary(layer => layer.Name, layer => layer.Values());
        Assert.All(read.Model.Layers, layer => Assert.Equal(expected[layer.Name], layer.Weight.Dequantize()));

        var imported = folder.File($"imported-{Directory.GetDirectories(folder.Path).Length}");
        CheckpointImporter.Run(folder.File("tool"), imported);
        using var artifact = LoadedModel.Open(imported);
        using var direct = LoadedModel.Open(folder.File("tool"));
        using var reference = LoadedModel.Open(source.WriteFloat(folder.File("float")));
        var tokens = tensor([.. Enumerable.Range(0, 24).Select(i => (long)(i * 37 % 256))], 1, 24);
        var same = Logits(reference);
        Assert.Equal(Logits(artifact), Logits(direct));
        if (inputs)
        {
            Assert.NotEqual(same, Logits(artifact));
        }
        else
        {
            Assert.Equal(same, Logits(artifact));
        }

        return read;

        float[] Logits(LoadedModel model)
        {
            using var scope = NewDisposeScope();
            using var guard = no_grad();
            return [.. model.Llama().forward(tokens).data<float>()];
        }
    }

    private void AssertRefused(string expected)
    {
        var exception = Assert.Throws<NibbleException>(() => CheckpointImporter.Run(folder.File("tool"), folder.File("out")));
        Assert.Contains(expected, exception.Message, StringComparison.Ordinal);
        Assert.False(Path.Exists(folder.File("out")));
    }

    private static bool InBlocks(string name) => name.StartsWith("model.layers", StringComparison.Ordinal);

    private static SafetensorsTensor Zeros(string name, int count) => SafetensorsTensor.FromFloats(name, ElementType.F16, [count], new float[count]);

    private static string Arguments(int bits, string strategy, bool symmetric) =>
        $$"""
        { "num_bits": {{bits}}, "type": "int", "symmetric": {{(symmetric ? "true" : "false")}}, "strategy": "{{strategy}}",
          "group_size": {{(strategy == "group" ? "8" : "null")}}, "dynamic": false, "actorder": null, "observer": "minmax", "observer_kwargs": {} }
        """;

    private static string Config(string format, string targets, int bits, string strategy, bool symmetric, string input = "null", string key = "compressed") =>
        $$"""
        { "quant_method": "compressed-tensors", "format": "{{format}}", "quantization_status": "{{key}}",
            "kv_cache_scheme": null, "ignore": ["lm_head"], "version": "0.9.3",
          "config_groups": { "group_0": { "targets": [{{targets}}], "weights": {{Arguments(bits, strategy, symmetric)}},
              "input_activations": {{input}}, "output_activations": null } } }
        """;

    private static IEnumerable<SafetensorsTensor> Compressed(ForeignLayer layer, string strategy, bool gaps, string zeroPoints, ElementType shape)
    {
        var (rows, columns, groups, bits) = (layer.Rows, layer.Columns, layer.Groups, layer.Bits);
        var packed = ForeignPacking.CompressedWords(layer.Codes, rows, columns, bits, gaps);
        yield return ForeignPacking.Words(layer.Name + ".weight_packed", packed, rows, packed.Length / rows);
        yield return shape == ElementType.I32
            ? ForeignPacking.Words(layer.Name + ".weight_shape", [(uint)rows, (uint)columns], 2)
            : SafetensorsTensor.FromBytes(
                layer.Name + ".weight_shape", ElementType.I64, [2],
                (byte[])[.. BitConverter.GetBytes((long)rows), .. BitConverter.GetBytes((long)columns)]);
        long[] scaleShape = strategy == "tensor" ? [1] : [rows, groups];
        var count = strategy == "tensor" ? 1 : rows * groups;
        yield return SafetensorsTensor.FromFloats(layer.Name + ".weight_scale", ElementType.F16, scaleShape, layer.Scales.AsMemory(0, count));
        if (zeroPoints is "bytes" or "zeros")
        {
            yield return ForeignPacking.Bytes(layer.Name + ".weight_zero_point", layer.Zeros.Take(count).Select(zero => zero - layer.Middle), scaleShape);
        }
        else if (zeroPoints == "packed")
        {
            // Packed along the outputs: the words of a group of all outputs are one column.
            var words = ForeignPacking.CompressedWords(ForeignPacking.Turned(layer.Zeros, rows, groups), groups, rows, bits, gaps);
            var width = words.Length / groups;
            yield return ForeignPacking.Words(layer.Name + ".weight_zero_point", ForeignPacking.Turned(words, groups, width), width, groups);
        }
    }
}
