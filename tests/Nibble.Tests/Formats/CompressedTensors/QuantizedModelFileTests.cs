using Nibble.Tests.Files;
using Nibble.Files;
using System.Text.Json;
using Nibble.Artifacts;
using Nibble.Formats.CompressedTensors;
using Nibble.Formats.HuggingFace;
using Nibble.Formats.Safetensors;
using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble.Tests.Formats.CompressedTensors;

public sealed class QuantizedModelFileTests : IDisposable
{
    private readonly TemporaryFolder temporary = new();

    public void Dispose() => temporary.Dispose();

    [Fact]
    public void SaveThenLoadGivesTheSameModelAndTheSameBytes()
    {
        var number = 0;
        AnyModel.Model.Sample(
            model =>
            {
                var (first, second) = (temporary.File($"first{++number}"), temporary.File($"second{number}"));
                QuantizedModelFile.Save(model, first);
                Assert.True(QuantizedModelFile.IsArtifact(first));
                Assert.Equal(QuantizedModelFile.TensorBytes(first), CountTensorBytes(model));
                var loaded = QuantizedModelFile.Load(first);
                AssertEqual(model, loaded);
                Assert.Equal(first, loaded.TokenizerFolder);

                QuantizedModelFile.Save(loaded, second);
                Assert.All(Directory.GetFiles(first),
                    path => Assert.Equal(File.ReadAllBytes(path), File.ReadAllBytes(Path.Combine(second, Path.GetFileName(path)))));
                Directory.Delete(first, recursive: true);
                Directory.Delete(second, recursive: true);
            },
            iter: 60,
            threads: 1);
        Assert.Empty(Directory.GetFileSystemEntries(temporary.Path));
    }

    [Fact]
    public void SummarizeSaysWhatHasCodesAndWhatHasNone()
    {
        var int8 = new QuantizationScheme(8, symmetric: true, Granularity.Channel);
        var input = new ActivationQuantization(new QuantizationScheme(8, symmetric: true, Granularity.Token), null);
        var model = Model(
            [new QuantizedLayer("a", new QuantizedTensor(2, 1, int8, [127, -128], [1, 2], []), input)],
            [new FloatTensor("b.weight", [1, 2], [1, 2], ElementType.BF16), new FloatTensor("norm.weight", [2], [1, 2], ElementType.F32)]);
        QuantizedModelFile.Save(model, temporary.File("artifact"));
        var summary = QuantizedModelFile.Summarize(temporary.File("artifact"));
        Assert.Equal([new SummarizedLayer("a", "int8 symmetric per channel", "int8 symmetric per token", null)], summary.Quantized);
        Assert.Equal([new KeptLayer("b", "no codes")], summary.Kept);
        Assert.Equal(
            ["quantized   1 layer to int8 symmetric per channel, inputs int8 symmetric per token", "kept float  1 layer: no codes (b)"], summary.Lines());

        Checkpoint.Save(temporary.File("float"), "{}", [SafetensorsTensor.FromFloats("b.weight", ElementType.F32, [1, 2], new float[] { 1, 2 })], string.Empty);
        summary = QuantizedModelFile.Summarize(temporary.File("float"));
        Assert.Equal((0, "b"), (summary.Quantized.Count, Assert.Single(summary.Kept).Name));
    }

    [Fact]
    public void LayoutKnowsNoBytes()
    {
        var tensor = CompressedTensorsLayer.Layout(
            "a", 2, 4, new QuantizationScheme(4, symmetric: true, Granularity.Channel), null, hasGroupIndex: false, CompressedTensorsFormat.PackQuantized)
            .First();
        Assert.Equal("a.weight_packed", tensor.Name);
        Assert.Contains("Only the layout of layer ", Assert.Throws<InvalidOperationException>(() => tensor.Write(Stream.Null)).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void SaveWritesWhatCompressedTensorsReadsPackQuantized()
    {
        Directory.CreateDirectory(temporary.File("source"));
        temporary.Write("source/tokenizer.json", "the tokenizer");
        temporary.Write("source/unrelated.bin", "not part of it");
        var grouped = new QuantizationScheme(4, symmetric: false, Granularity.Group(2)) { ScalePrecision = ScalePrecision.Float16 };
        var dynamic = new ActivationQuantization(new QuantizationScheme(8, symmetric: true, Granularity.Token), null);
        var model = Model(
            [
                new QuantizedLayer("a", new QuantizedTensor(2, 4, grouped, [7, -8, 0, 1, 2, 3, 4, 5], [1, 2, 3, 4], [-8, 6, 7, -7]), null),
                new QuantizedLayer("b", new QuantizedTensor(1, 2, QuantizationScheme.CreateTernary(Granularity.Channel), [1, -1], [0.5f], []), dynamic),
            ],
            [new FloatTensor("model.embed_tokens.weight", [1, 2], [1, 2], ElementType.BF16),
                new FloatTensor("model.norm.weight", [2], [1, 2], ElementType.F32)],
            temporary.File("source"));
        var folder = temporary.File("out");
        QuantizedModelFile.Save(model, folder);

        Assert.Equal(["config.json", "model.safetensors", "nibble.json", "tokenizer.json"], Directory.GetFiles(folder).Select(Path.GetFileName).Order());
        Assert.Equal("the tokenizer", File.ReadAllText(Path.Combine(folder, "tokenizer.json")));
        using (var file = SafetensorsFile.Open(Path.Combine(folder, "model.safetensors")))
        {
            Assert.Equal(
                [
                    "a.weight_packed I32 [2, 1]", "a.weight_scale F16 [2, 2]", "a.weight_shape I64 [2]", "a.weight_zero_point I32 [1, 2]",
                    "b.weight_packed I32 [1, 1]", "b.weight_scale F32 [1, 1]", "b.weight_shape I64 [2]",
                    "model.embed_tokens.weight BF16 [1, 2]", "model.norm.weight F32 [2]",
                ],
                file.Tensors.Select(tensor => $"{tensor.Name} {tensor.ElementType} [{string.Join(", ", tensor.Shape)}]").Order(StringComparer.Ordinal));
            Assert.Equal([0x0F, 0x98, 0, 0, 0xBA, 0xDC, 0, 0], file.ReadBytes("a.weight_packed"));
            Assert.Equal([0xF0, 0, 0, 0, 0x1E, 0, 0, 0], file.ReadBytes("a.weight_zero_point"));
            Assert.Equal([0b0111, 0, 0, 0], file.ReadBytes("b.weight_packed"));
            Assert.Equal([2, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0], file.ReadBytes("a.weight_shape"));
        }

        AssertConfig(
            folder,
            """
            {"quant_method":"compressed-tensors","format":"pack-quantized","quantization_status":"compressed","kv_cache_scheme":null,"global_compression_ratio":null,
             "ignore":["lm_head","model.embed_tokens"],
             "config_groups":{
              "group_0":{"targets":["a"],
               "weights":{"num_bits":4,"type":"int","symmetric":false,"strategy":"group","group_size":2,"dynamic":false,"block_structure":null,"actorder":null,"observer":"minmax","observer_kwargs":{}},
               "input_activations":null,"output_activations":null},
              "group_1":{"targets":["b"],
               "weights":{"num_bits":2,"type":"int","symmetric":true,"strategy":"channel","group_size":null,"dynamic":false,"block_structure":null,"actorder":null,"observer":"minmax","observer_kwargs":{}},
               "input_activations":{"num_bits":8,"type":"int","symmetric":true,"strategy":"token","group_size":null,"dynamic":true,"block_structure":null,"actorder":null,"observer":null,"observer_kwargs":{}},
               "output_activations":null}}}
            """);
    }

    [Fact]
    public void SaveWritesWhatCompressedTensorsReadsIntQuantized()
    {
        var input = new ActivationQuantization(new QuantizationScheme(8, symmetric: false, Granularity.Tensor), new QuantizationParameters(0.25f, -3));
        var model = Model([new QuantizedLayer(
            "lm_head", new QuantizedTensor(2, 1, new QuantizationScheme(8, symmetric: true, Granularity.Channel), [127, -128], [1, 2], []), input)], []);
        var folder = temporary.File("out");
        QuantizedModelFile.Save(model, folder);

        using (var file = SafetensorsFile.Open(Path.Combine(folder, "model.safetensors")))
        {
            Assert.Equal(
                ["lm_head.input_scale F32 [1]", "lm_head.input_zero_point I8 [1]", "lm_head.weight I8 [2, 1]", "lm_head.weight_scale F32 [2, 1]"],
                file.Tensors.Select(tensor => $"{tensor.Name} {tensor.ElementType} [{string.Join(", ", tensor.Shape)}]").Order(StringComparer.Ordinal));
            Assert.Equal([127, 128], file.ReadBytes("lm_head.weight"));
            Assert.Equal([253], file.ReadBytes("lm_head.input_zero_point"));
        }

        AssertConfig(
            folder,
            """
            {"quant_method":"compressed-tensors","format":"int-quantized","quantization_status":"compressed","kv_cache_scheme":null,"global_compression_ratio":null,"ignore":[],
             "config_groups":{"group_0":{"targets":["Linear"],
               "weights":{"num_bits":8,"type":"int","symmetric":true,"strategy":"channel","group_size":null,"dynamic":false,"block_structure":null,"actorder":null,"observer":"minmax","observer_kwargs":{}},
               "input_activations":{"num_bits":8,"type":"int","symmetric":false,"strategy":"tensor","group_size":null,"dynamic":false,"block_structure":null,"actorder":null,"observer":"minmax","observer_kwargs":{}},
               "output_activations":null}}}
            """);
    }

    [Theory]
    [InlineData("keyValueCache: { keys: { bits: 8, symmetric: false }, values: { bits: 8, symmetric: false } }", "head_dim", 8, "false")]
    [InlineData("keyValueCache: { keys: { bits: 4 }, values: { bits: 4 } }", "head_dim", 4, "true")]
    [InlineData("keyValueCache: { keys: { bits: 4 }, values: { bits: 4 } }", "hidden_size", 4, "true")]
    [InlineData("keyValueCache: { keys: { bits: 4 }, values: { bits: 4 } }", "", null, null)]
    [InlineData("keyValueCache: { keys: { bits: 4 }, values: { bits: 8 } }", "head_dim", null, null)]
    [InlineData("keyValueCache: { keys: { bits: 8 } }", "head_dim", null, null)]
    [InlineData("keyValueCache: { values: { bits: 8 } }", "head_dim", null, null)]
    [InlineData("keyValueCache: float", "head_dim", null, null)]
    public void SaveTellsCompressedTensorsOfACacheThatItCanExpress(string yaml, string size, int? bits, string? symmetric)
    {
        var config = size switch
        {
            "head_dim" => """{"model_type":"llama","head_dim":16,"hidden_size":1,"num_attention_heads":1}""",
            "hidden_size" => """{"model_type":"llama","head_dim":null,"hidden_size":64,"num_attention_heads":4}""",
            _ => """{"model_type":"llama","head_dim":"16","hidden_size":-64,"num_attention_heads":4}""",
        };
        var model = Model([], []) with { ConfigJson = config, Recipe = RecipeFile.ParseYaml($"rules: []\n{yaml}", "r") };
        QuantizedModelFile.Save(model, temporary.File("out"));
        var cache = bits is null ? "null" : $$"""
            {"num_bits":{{bits}},"type":"int","symmetric":{{symmetric}},"strategy":"group","group_size":16,"dynamic":true,"block_structure":null,"actorder":null,"observer":null,"observer_kwargs":{} }
            """;
        AssertConfig(
            temporary.File("out"),
            $$"""{"quant_method":"compressed-tensors","format":"int-quantized","quantization_status":"compressed","kv_cache_scheme":{{cache}},"global_compression_ratio":null,"ignore":["lm_head"],"config_groups":{} }""");
    }

    [Fact]
    public void SaveWritesTheParametersOfKeysPerChannel()
    {
        QuantizedModelFile.Save(ChannelKeys(), temporary.File("out"));
        using var file = SafetensorsFile.Open(Path.Combine(temporary.File("out"), "model.safetensors"));
        Assert.Equal(["a.k_scale F32 [2, 1, 3]", "a.k_zero_point I8 [2, 1, 3]"],
            file.Tensors.Select(tensor => $"{tensor.Name} {tensor.ElementType} [{string.Join(", ", tensor.Shape)}]").Order(StringComparer.Ordinal));
        Assert.Equal([1f, 2, 3, 4, 5, 6], file.ReadFloats("a.k_scale"));
        Assert.Equal([0, 1, 2, 3, 0xF8, 7], file.ReadBytes("a.k_zero_point"));
        Assert.Contains("\"kv_cache_scheme\": null", File.ReadAllText(Path.Combine(temporary.File("out"), "config.json")), StringComparison.Ordinal);
    }

    [Fact]
    public void LoadTakesArtifactsThatKnowNothingOfCaches()
    {
        QuantizedModelFile.Save(Model([], []), temporary.File("out"));
        var path = temporary.File("out/nibble.json");
        var text = File.ReadAllText(path);
        var old = text.Replace(",\n  \"staticKeys\": []", string.Empty, StringComparison.Ordinal)
            .Replace("\"keyValueCache\": \"float\",", string.Empty, StringComparison.Ordinal);
        Assert.DoesNotContain("staticKeys", old, StringComparison.Ordinal);
        Assert.DoesNotContain("keyValueCache", old, StringComparison.Ordinal);
        File.WriteAllText(path, old);
        Assert.Null(QuantizedModelFile.Load(temporary.File("out")).Recipe.KeyValueCache);
    }

    [Fact]
    public void SaveNamesAMethodOfItsOwnWhereALayerTransformsItsInput()
    {
        var weight = new QuantizedTensor(1, 2, new QuantizationScheme(4, symmetric: true, Granularity.Channel), [1, 2], [1], []);
        var folder = temporary.File("out");
        QuantizedModelFile.Save(
            Model([new QuantizedLayer("a", weight, null), new QuantizedLayer("b", weight, null) { InputTransform = InputTransform.Hadamard }], []), folder);
        using (var config = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "config.json"))))
        {
            Assert.Equal("nibble", config.RootElement.GetProperty("quantization_config").GetProperty("quant_method").GetString());
        }

        var path = Path.Combine(folder, "nibble.json");
        File.WriteAllText(path, File.ReadAllText(path).Replace("\"hadamard\"", "\"fourier\"", StringComparison.Ordinal));
        Assert.Contains("layer b has the input transform fourier, expected hadamard",
            Assert.Throws<NibbleException>(() => QuantizedModelFile.Load(folder)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void SaveRefusesAnExistingFolderAndLeavesItAlone()
    {
        var folder = temporary.File("out");
        Directory.CreateDirectory(folder);
        Assert.Contains("exists already", Assert.Throws<NibbleException>(() => QuantizedModelFile.Save(Model([], []), folder)).Message,
            StringComparison.Ordinal);
        Assert.Empty(Directory.GetFileSystemEntries(folder));
        Assert.Contains("does not exist",
            Assert.Throws<NibbleException>(() => QuantizedModelFile.Save(Model([], [], temporary.File("absent")), temporary.File("other"))).Message,
            StringComparison.Ordinal);
        Assert.Equal([folder], Directory.GetFileSystemEntries(temporary.Path));
    }

    [Fact]
    public void SaveRefusesModelsThatContradictThemselvesAndLeavesNothing()
    {
        var int4 = new QuantizationScheme(4, symmetric: true, Granularity.Channel);
        var zero = new QuantizationParameters(1, 0);
        Refuse("codes outside", Layer(int4, [8], [1]));
        Refuse("codes outside", Layer(QuantizationScheme.CreateTernary(Granularity.Channel), [-2], [1]));
        Refuse("zero points outside",
            new QuantizedLayer("a", new QuantizedTensor(1, 1, new QuantizationScheme(4, false, Granularity.Channel), [1], [1], [8]), null));
        Refuse("scales that are not", Layer(int4, [1], [0]));
        Refuse("scales that are not", Layer(int4, [1], [float.NaN]));
        Refuse("scales that are not", Layer(int4 with { ScalePrecision = ScalePrecision.Float16 }, [1], [0.1f]));
        Refuse("weights per token", Layer(new QuantizationScheme(4, true, Granularity.Token), [1], [1]));
        Refuse("neither per token",
            Layer(int4, [1], [1]) with { Input = new ActivationQuantization(new QuantizationScheme(8, true, Granularity.Tensor), null) });
        Refuse("neither per token",
            Layer(int4, [1], [1]) with { Input = new ActivationQuantization(new QuantizationScheme(8, true, Granularity.Token), zero) });
        Refuse("input zero point",
            Layer(int4, [1], [1]) with
            {
                Input = new ActivationQuantization(
            new QuantizationScheme(8, true, Granularity.Tensor), zero with { ZeroPoint = 1 })
            });
        var keys = ChannelKeys();
        RefuseModel("disagree on whether keys", keys with { StaticKeys = [] });
        RefuseModel("disagree on whether keys", keys with { Recipe = RecipePresets.Parse("w8a8-kv4") });
        RefuseKeys("the same number of scales for each head", keys.StaticKeys[0] with { Heads = 4 });
        RefuseKeys("the same number of scales for each head", keys.StaticKeys[0] with { Heads = 0 });
        RefuseKeys("the wrong number of zero points", keys.StaticKeys[0] with { ZeroPoints = [] });
        RefuseKeys("zero points outside", keys.StaticKeys[0] with { ZeroPoints = [0, 1, 2, 3, -9, 7] });
        RefuseKeys("scales that are not", keys.StaticKeys[0] with { Scales = [1, 2, 3, 4, 5, float.NaN] });
        RefuseModel("NaN or infinite", Model([], [new FloatTensor("f", [2], [1, float.NaN], ElementType.F16)]));
        RefuseModel("NaN or infinite", Model([], [new FloatTensor("f", [1], [float.PositiveInfinity], ElementType.F32)]));
        RefuseModel("cannot represent", Model([], [new FloatTensor("f", [1], [0.1f], ElementType.F16)]));
        RefuseModel("not as a floating-point type", Model([], [new FloatTensor("f", [1], [1], ElementType.I8)]));
        RefuseModel("its shape requires", Model([], [new FloatTensor("f", [2], [1], ElementType.F32)]));
        RefuseModel("used twice", Model([], [new FloatTensor("f", [1], [1], ElementType.F32), new FloatTensor("f", [1], [1], ElementType.F32)]));
        Assert.Empty(Directory.GetFileSystemEntries(temporary.Path));

        static QuantizedLayer Layer(QuantizationScheme scheme, sbyte[] codes, float[] scales) =>
            new("a", new QuantizedTensor(1, 1, scheme, codes, scales, []), null);
        void RefuseKeys(string complaint, KeyQuantization block) => RefuseModel(complaint, keys with { StaticKeys = [block] });
        void Refuse(string complaint, QuantizedLayer layer) => RefuseModel(complaint, Model([layer], []));
        void RefuseModel(string complaint, QuantizedModel model) =>
            Assert.Contains(complaint, Assert.Throws<ArgumentException>(() => QuantizedModelFile.Save(model, temporary.File("out"))).Message,
                StringComparison.Ordinal);
    }

    [Fact]
    public void LoadRefusesFilesThatAreMissingOrDisagree()
    {
        var scheme = new QuantizationScheme(4, symmetric: true, Granularity.Channel);
        var folder = temporary.File("out");
        QuantizedModelFile.Save(
            Model([new QuantizedLayer("a", new QuantizedTensor(1, 3, scheme, [1, 2, 3], [1], []), null)], [new FloatTensor("f", [1], [1], ElementType.F32)]),
            folder);
        AssertRefusal("\"schema\": 1", "\"schema\": 2", "schema version 2; this version of Nibble reads 1");
        AssertRefusal("pack-quantized", "other", "format other is unknown");
        AssertRefusal("pack-quantized", "int-quantized", "no tensor a.weight");
        AssertRefusal("\"scale\": \"float32\"", "\"scale\": \"float16\"", "a.weight_scale: expected F16 [1, 1], found F32 [1, 1]");
        AssertRefusal("\"scheme\": \"group_0\"", "\"scheme\": \"group_1\"", "which is not among group_0");
        AssertRefusal("\"bits\": 4", "\"bits\": 40", "bits must be an integer from 2 to 8");
        AssertRefusal("\"f\"", "\"g\"", "no tensor g");
        AssertRefusal("\"f\"", string.Empty, "f: the tensor belongs to no layer");
        AssertRefusal("\"f\"", "\"f\", \"f\"", "names the tensor twice");
        AssertRefusal("\"seed\"", "\"sead\"", "not a valid manifest");
        AssertRefusal("\\\"llama\\\"", "\\\"bert\\\"", "disagree about the model's configuration");

        File.Delete(Path.Combine(folder, "model.safetensors"));
        Assert.Contains("model.safetensors", Refusal(), StringComparison.Ordinal);
        File.Delete(Path.Combine(folder, "nibble.json"));
        Assert.Contains("has no nibble.json", Refusal(), StringComparison.Ordinal);
        Assert.Contains("There is no folder", Assert.Throws<NibbleException>(() => QuantizedModelFile.Load(temporary.File("absent"))).Message,
            StringComparison.Ordinal);

        string Refusal() => Assert.Throws<NibbleException>(() => QuantizedModelFile.Load(folder)).Message;

        void AssertRefusal(string from, string to, string complaint)
        {
            var path = Path.Combine(folder, "nibble.json");
            var text = File.ReadAllText(path);
            Assert.Contains(from, text, StringComparison.Ordinal);
            File.WriteAllText(path, text.Replace(from, to, StringComparison.Ordinal));
            Assert.Contains(complaint, Refusal(), StringComparison.Ordinal);
            File.WriteAllText(path, text);
        }
    }

    [Fact]
    public void LoadRefusesHostileValues()
    {
        var ternary = QuantizationScheme.CreateTernary(Granularity.Channel);
        var input = new ActivationQuantization(new QuantizationScheme(4, symmetric: false, Granularity.Tensor), new QuantizationParameters(1, 0));
        var folder = temporary.File("out");
        QuantizedModelFile.Save(Model([new QuantizedLayer("a", new QuantizedTensor(1, 2, ternary, [1, 0], [1], []), input)],
            [new FloatTensor("norm", [1, 1], [1], ElementType.F16)]), folder);
        AssertRefusal("norm", [0, 0x7E], "tensor 'norm' holds NaN at [0, 0], expected finite values");
        AssertRefusal("a.weight_packed", [0b0010, 0, 0, 0], "row 0, column 1 has code -2");
        AssertRefusal("a.weight_scale", [0, 0, 0, 0], "scale 0 is 0; expected a positive number");
        AssertRefusal("a.weight_scale", [0, 0, 0xC0, 0x7F], "scale 0 is NaN");
        AssertRefusal("a.input_zero_point", [100], "zero point 0 is 100");
        AssertRefusal("a.weight_shape", [255, 255, 255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 0, 0, 0], "found [-1, 2]");
        AssertRefusal("a.weight_shape", [255, 255, 255, 127, 0, 0, 0, 0, 255, 255, 255, 127, 0, 0, 0, 0], "found [2147483647, 2147483647]");
        AssertRefusal("a.weight_shape", [2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0], "a.weight_packed: expected I32 [2, 1], found I32 [1, 1]");

        void AssertRefusal(string tensor, byte[] value, string complaint)
        {
            var path = Path.Combine(folder, "model.safetensors");
            var bytes = File.ReadAllBytes(path);
            using (var file = SafetensorsFile.Open(path))
            {
                var entry = file.Entry(tensor);
                Assert.Equal(entry.ByteLength, value.Length);
                value.CopyTo(bytes, entry.Offset);
            }

            var whole = File.ReadAllBytes(path);
            File.WriteAllBytes(path, bytes);
            Assert.Contains(complaint, Assert.Throws<NibbleException>(() => QuantizedModelFile.Load(folder)).Message, StringComparison.Ordinal);
            File.WriteAllBytes(path, whole);
        }
    }

    [Fact]
    public void SaveWritesTheGroupIndexOfScatteredGroups()
    {
        var scheme = new QuantizationScheme(4, symmetric: true, Granularity.Group(2));
        var folder = temporary.File("out");
        QuantizedModelFile.Save(Model([Layer("a", [1, 0, 0]), Layer("b", null), Layer("c", [0, 0, 1])], []), folder);

        using (var file = SafetensorsFile.Open(Path.Combine(folder, "model.safetensors")))
        {
            var entry = file.Entry("a.weight_g_idx");
            Assert.Equal((ElementType.I32, 3L), (entry.ElementType, Assert.Single(entry.Shape)));
            Assert.Equal([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], file.ReadBytes("a.weight_g_idx"));
        }

        using var config = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "config.json")));
        var groups = config.RootElement.GetProperty("quantization_config").GetProperty("config_groups");
        Assert.Equal(
            ["group_0 [\"a\",\"c\"] \"group\"", "group_1 [\"b\"] null"],
            groups.EnumerateObject().Select(
                group => $"{group.Name} {JsonSerializer.Serialize(group.Value.GetProperty("targets"))} "
                + $"{group.Value.GetProperty("weights").GetProperty("actorder").GetRawText()}"));
        Assert.Equal(new int[]?[] { [1, 0, 0], null, [0, 0, 1] }, QuantizedModelFile.Load(folder).Layers.Select(layer => layer.Weight.GroupIndex));

        QuantizedLayer Layer(string name, int[]? index) => new(name, new QuantizedTensor(1, 3, scheme, [1, 2, 3], [1, 2], [], index), null);
    }

    [Theory]
    [InlineData(new[] { 0, 1, 2 }, "column 2 has group 2, expected 0 to 1")]
    [InlineData(new[] { 0, -1, 1 }, "column 1 has group -1, expected 0 to 1")]
    [InlineData(new[] { 0, 1, 1 }, "group 0 has 1 columns, expected 2")]
    [InlineData(new[] { 0, 0, 0 }, "group 0 has 3 columns, expected 2")]
    public void LoadRefusesAHostileGroupIndex(int[] index, string complaint)
    {
        var scheme = new QuantizationScheme(4, symmetric: true, Granularity.Group(2));
        var folder = temporary.File("out");
        QuantizedModelFile.Save(Model([new QuantizedLayer("a", new QuantizedTensor(1, 3, scheme, [1, 2, 3], [1, 2], [], [0, 1, 0]), null)], []), folder);
        var path = Path.Combine(folder, "model.safetensors");
        var bytes = File.ReadAllBytes(path);
        using (var file = SafetensorsFile.Open(path))
        {
            Buffer.BlockCopy(index, 0, bytes, (int)file.Entry("a.weight_g_idx").Offset, 12);
        }

        File.WriteAllBytes(path, bytes);
        Assert.Contains($"a.weight_g_idx: {complaint}", Assert.Throws<NibbleException>(() => QuantizedModelFile.Load(folder)).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void LoadRefusesAGroupIndexThatTheManifestContradicts()
    {
        var grouped = new QuantizationScheme(4, symmetric: true, Granularity.Group(2));
        var folder = temporary.File("out");
        QuantizedModelFile.Save(Model([new QuantizedLayer("a", new QuantizedTensor(1, 3, grouped, [1, 2, 3], [1, 2], [], [0, 1, 0]), null)], []), folder);
        var path = Path.Combine(folder, "nibble.json");
        var text = File.ReadAllText(path);
        Assert.Contains("\"groupIndex\": true", text, StringComparison.Ordinal);
        File.WriteAllText(path, text.Replace("\"groupIndex\": true", "\"groupIndex\": false", StringComparison.Ordinal));
        Assert.Contains("a.weight_g_idx: the tensor belongs to no layer", Assert.Throws<NibbleException>(() => QuantizedModelFile.Load(folder)).Message,
            StringComparison.Ordinal);
        File.WriteAllText(path, text.Replace("\"groupIndex\": true", "\"groupIndex\": 1", StringComparison.Ordinal));
        Assert.Contains("not a valid manifest", Assert.Throws<NibbleException>(() => QuantizedModelFile.Load(folder)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void LoadRefusesHostileParametersOfKeys()
    {
        var folder = temporary.File("out");
        QuantizedModelFile.Save(ChannelKeys(), folder);
        AssertManifestRefusal("\"staticKeys\": [\n    \"a\"\n  ]", "\"staticKeys\": []", "staticKeys lists 0 blocks, but the recipe has per-channel keys");
        AssertManifestRefusal("\"granularity\": \"channel\",\n        \"observer\": \"minmax\"", "\"granularity\": \"token\"",
            "staticKeys lists 1 blocks, but the recipe has no per-channel keys");
        AssertManifestRefusal("\"staticKeys\": [\n    \"a\"", "\"staticKeys\": [\n    \"a\", \"a\"", "names the tensor twice");
        AssertManifestRefusal("\"staticKeys\": [\n    \"a\"", "\"staticKeys\": [\n    \"b\"", "no tensor b.k_scale");
        AssertManifestRefusal("\"staticKeys\": [\n    \"a\"", "\"staticKeys\": [\n    7", "not a valid manifest");
        AssertManifestRefusal("\"symmetric\": false,\n        \"scale\": \"float32\",\n        \"granularity\"",
            "\"symmetric\": true,\n        \"scale\": \"float32\",\n        \"granularity\"", "a.k_zero_point: the tensor belongs to no layer");
        AssertTensorRefusal([0, 0, 0, 0], 0, "a.k_scale: scale 0 is 0; expected a positive number");
        AssertTensorRefusal([8], 24, "a.k_zero_point: zero point 0 is 8");

        foreach (var shape in (long[][])[[6], [2, 3], [2, 3, 1], [0, 1, 3], [1, 2, 1, 3]])
        {
            SafetensorsWriter.Write(
                Path.Combine(folder, "model.safetensors"),
                [SafetensorsTensor.FromFloats("a.k_scale", ElementType.F32, shape, new float[shape.Aggregate(1L, (count, side) => count * side)])],
                new Dictionary<string, string>());
            Assert.Contains($"expected the shape [key-value heads, 1, head size], found [{string.Join(", ", shape)}]", Refusal(), StringComparison.Ordinal);
        }

        string Refusal() => Assert.Throws<NibbleException>(() => QuantizedModelFile.Load(folder)).Message;

        void AssertManifestRefusal(string from, string to, string complaint)
        {
            var path = Path.Combine(folder, "nibble.json");
            var text = File.ReadAllText(path);
            Assert.Contains(from, text, StringComparison.Ordinal);
            File.WriteAllText(path, text.Replace(from, to, StringComparison.Ordinal));
            Assert.Contains(complaint, Refusal(), StringComparison.Ordinal);
            File.WriteAllText(path, text);
        }

        void AssertTensorRefusal(byte[] value, int offset, string complaint)
        {
            var path = Path.Combine(folder, "model.safetensors");
            var whole = File.ReadAllBytes(path);
            var bytes = File.ReadAllBytes(path);
            value.CopyTo(bytes, bytes.Length - 30 + offset);
            File.WriteAllBytes(path, bytes);
            Assert.Contains(complaint, Refusal(), StringComparison.Ordinal);
            File.WriteAllBytes(path, whole);
        }
    }

    [Fact]
    public void MetricsMayBeInfinite()
    {
        var model = Model([], []);
        model = model with
        {
            Provenance = model.Provenance with
            {
                Metrics = new Dictionary<string, double>
                { ["perplexity"] = double.PositiveInfinity, ["kl"] = double.NaN }
            }
        };
        QuantizedModelFile.Save(model, temporary.File("out"));
        Assert.Equal(model.Provenance.Metrics.OrderBy(metric => metric.Key), QuantizedModelFile.Load(temporary.File("out")).Provenance.Metrics);
    }

    /// <summary>A model of one block whose keys have 2 heads of 3 channels, 4 bits, asymmetric.</summary>
    /// <summary>What an artifact will take, from shapes and schemes alone.</summary>
    private static long CountTensorBytes(QuantizedModel model)
    {
        var format = CompressedTensorsLayer.FormatFor(model.Layers.Select(layer => (layer.Weight.Scheme, layer.Input?.Scheme)));
        return QuantizedModelFile.CountTensorBytes(
            [
                .. model.Layers.SelectMany(layer => CompressedTensorsLayer.Layout(
                    layer.Name, layer.Weight.Rows, layer.Weight.Columns, layer.Weight.Scheme, layer.Input?.Scheme, layer.Weight.GroupIndex is not null,
                    format)),
                .. model.FloatTensors.Select(
                    tensor => SafetensorsTensor.FromFloats(tensor.Name, tensor.StoredAs, [.. tensor.Shape.Select(size => (long)size)], default)),
            ],
            model.StaticKeys,
            model.Recipe.KeyValueCache?.Keys);
    }

    private static QuantizedModel ChannelKeys() => Model([], []) with
    {
        Recipe = RecipePresets.Parse("w16a16-kv4c"),
        StaticKeys = [new KeyQuantization("a", 2, [1, 2, 3, 4, 5, 6], [0, 1, 2, 3, -8, 7])],
    };

    private static QuantizedModel Model(QuantizedLayer[] layers, FloatTensor[] floats, string tokenizer = "") => new(
        """{"model_type":"llama"}""",
        layers,
        floats,
        RecipePresets.Parse("w8a8"),
        new Provenance("0.1.0", "ptq", 1, new Dictionary<string, string>(), new Dictionary<string, double>()),
        tokenizer);

    private static void AssertConfig(string folder, string expected)
    {
        using var config = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "config.json")));
        using var wanted = JsonDocument.Parse(expected);
        Assert.Equal("llama", config.RootElement.GetProperty("model_type").GetString());
        var written = config.RootElement.GetProperty("quantization_config");
        Assert.True(JsonElement.DeepEquals(wanted.RootElement, written), written.GetRawText());
    }

    private static void AssertEqual(QuantizedModel expected, QuantizedModel actual)
    {
        Assert.Equal(expected.ConfigJson, actual.ConfigJson);
        Assert.Equal(expected.Recipe.Name, actual.Recipe.Name);
        Assert.Equal(expected.Recipe.Rules, actual.Recipe.Rules);
        Assert.Equal(expected.Recipe.Qat, actual.Recipe.Qat);
        Assert.Equal((expected.Provenance.Version, expected.Provenance.Method, expected.Provenance.Seed),
            (actual.Provenance.Version, actual.Provenance.Method, actual.Provenance.Seed));
        Assert.Equal(expected.Provenance.SourceHashes.OrderBy(pair => pair.Key), actual.Provenance.SourceHashes);
        Assert.Equal(expected.Provenance.Metrics.OrderBy(pair => pair.Key), actual.Provenance.Metrics);
        Assert.Equal(expected.Layers.Count, actual.Layers.Count);
        foreach (var (left, right) in expected.Layers.Zip(actual.Layers))
        {
            Assert.Equal((left.Name, left.Input, left.InputTransform), (right.Name, right.Input, right.InputTransform));
            Assert.Equal((left.Weight.Rows, left.Weight.Columns, left.Weight.Scheme), (right.Weight.Rows, right.Weight.Columns, right.Weight.Scheme));
            Assert.Equal(left.Weight.Codes, right.Weight.Codes);
            Assert.Equal(left.Weight.Scales, right.Weight.Scales);
            Assert.Equal(left.Weight.ZeroPoints, right.Weight.ZeroPoints);
            Assert.Equal(left.Weight.GroupIndex, right.Weight.GroupIndex);
        }

        Assert.Equal(expected.Recipe.KeyValueCache, actual.Recipe.KeyValueCache);
        Assert.Equal(expected.StaticKeys.Count, actual.StaticKeys.Count);
        foreach (var (left, right) in expected.StaticKeys.Zip(actual.StaticKeys))
        {
            Assert.Equal((left.Name, left.Heads, left.HeadSize), (right.Name, right.Heads, right.HeadSize));
            Assert.Equal(left.Scales, right.Scales);
            Assert.Equal(left.ZeroPoints, right.ZeroPoints);
        }

        Assert.Equal(expected.FloatTensors.Count, actual.FloatTensors.Count);
        foreach (var (left, right) in expected.FloatTensors.Zip(actual.FloatTensors))
        {
            Assert.Equal((left.Name, left.StoredAs), (right.Name, right.StoredAs));
            Assert.Equal(left.Shape, right.Shape);
            Assert.Equal(left.Values, right.Values);
        }
    }
}
