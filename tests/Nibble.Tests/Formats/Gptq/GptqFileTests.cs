using Nibble.Tests.Files;
using Nibble.Artifacts;
using Nibble.Formats.Gptq;
using Nibble.Formats.Safetensors;
using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble.Tests.Formats.Gptq;

public sealed class GptqFileTests : IDisposable
{
    private static readonly Gen<QuantizationScheme> Schemes =
        from bits in Gen.OneOf(Gen.Const(2), Gen.Const(3), Gen.Const(4), Gen.Const(8))
        from symmetric in Gen.Bool
        from granularity in Gen.OneOf(Gen.Const(Granularity.Channel), Gen.Int[1, 40].Select(Granularity.Group))
        select new QuantizationScheme(bits, symmetric, granularity) { ScalePrecision = ScalePrecision.Float16 };

    private static readonly Gen<(int Rows, int Columns)> Sizes = Gen.Select(Gen.Int[1, 40], Gen.Int[1, 80]);

    private static readonly QuantizationScheme Int4 = new(4, symmetric: false, Granularity.Group(32)) { ScalePrecision = ScalePrecision.Float16 };

    private readonly TemporaryFolder folder = new();
    private int number;

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData(GptqVersion.V1)]
    [InlineData(GptqVersion.V2)]
    public void SaveIsDecodedByTheDefinitionAndLoadsAndSavesTheSameBytes(object label)
    {
        var version = (GptqVersion)label;
        (from scheme in Schemes
         from scattered in Gen.Bool
         from model in WeightOnlyModels.Any(scheme, Sizes, version == GptqVersion.V1 ? 1 : 0, scattered && scheme.Granularity is PerGroup)
         select model).Sample(
            model =>
            {
                var (first, second) = (folder.File($"{++number}a"), folder.File($"{number}b"));
                GptqFile.Save(model, first, version);
                using (var file = SafetensorsFile.Open(Path.Combine(first, "model.safetensors")))
                {
                    Assert.All(model.Layers, layer => Assert.Equal(layer.Weight.Dequantize(), Decode(file, layer.Name, layer.Weight.Scheme.Bits, version)));
                }

                var loaded = GptqFile.Load(first, out var found, out _);
                WeightOnlyModels.AssertEqual(model, loaded);

                // A layer of one zero point, or none that tells, leaves the label.
                Assert.Equal(version, found);
                GptqFile.Save(loaded, second, found);
                WeightOnlyModels.AssertSameFiles(first, second);
                Directory.Delete(first, recursive: true);
                Directory.Delete(second, recursive: true);
            },
            iter: 150, threads: 1);
    }

    [Theory]
    [InlineData(true, 7, 8)]
    [InlineData(false, 14, 15)]
    public void LoadBelievesZeroPointsThatContradictTheLabel(bool symmetric, int inVersion1, int inVersion2)
    {
        // Symmetric zero points are 8. An asymmetric one of 15 is stored as 14 in version 1 and as 15 in version 2, which version 1 has no use for.
        var scheme = new QuantizationScheme(4, symmetric, Granularity.Group(32)) { ScalePrecision = ScalePrecision.Float16 };
        var model = WeightOnlyModels.Create(WeightOnlyModels.Layer(scheme, zeroPoint: 7));
        GptqFile.Save(model, folder.File("v1"), GptqVersion.V1);
        GptqFile.Save(model, folder.File("v2"), GptqVersion.V2);
        using (var file = SafetensorsFile.Open(folder.File("v1/model.safetensors")))
        {
            Assert.All(WeightOnlyModels.Words(file, "model.layers.0.mlp.up_proj.qzeros").Words, word => Assert.Equal((uint)inVersion1 * 0x11111111, word));
        }

        using (var file = SafetensorsFile.Open(folder.File("v2/model.safetensors")))
        {
            Assert.All(WeightOnlyModels.Words(file, "model.layers.0.mlp.up_proj.qzeros").Words, word => Assert.Equal((uint)inVersion2 * 0x11111111, word));
        }

        WeightOnlyModels.Replace(folder.File("v2/config.json"), "\"gptq_v2\"", "\"gptq\"");
        WeightOnlyModels.AssertEqual(model, GptqFile.Load(folder.File("v2"), out var version, out var label));
        Assert.Equal((GptqVersion.V2, GptqVersion.V1), (version, label));
        if (symmetric)
        {
            WeightOnlyModels.Replace(folder.File("v1/config.json"), "\"checkpoint_format\": \"gptq\"", "\"checkpoint_format\": \"gptq_v2\"");
            WeightOnlyModels.AssertEqual(model, GptqFile.Load(folder.File("v1"), out version, out label));
            Assert.Equal((GptqVersion.V1, GptqVersion.V2), (version, label));
        }
    }

    [Fact]
    public void LoadTakesTheConfigurationFromAFileOfItsOwn()
    {
        var model = WeightOnlyModels.Create(WeightOnlyModels.Layer(Int4));
        GptqFile.Save(model, folder.File("model"), GptqVersion.V2);
        File.WriteAllText(folder.File("model/config.json"), WeightOnlyModels.Config);
        File.WriteAllText(folder.File("model/quantize_config.json"), """{ "bits": 4, "group_size": 32, "sym": false, "desc_act": false, "checkpoint_format": "gptq_v2", "dynamic": { "-:.*down.*": {} } }""");

        WeightOnlyModels.AssertEqual(model, GptqFile.Load(folder.File("model"), out _, out _));
    }

    [Fact]
    public void SaveRefusesWhatTheFormatCannotHold()
    {
        Refuses("stores one less; write gptq-v2 instead", WeightOnlyModels.Create(WeightOnlyModels.Layer(Int4, zeroPoint: -8)));
        Refuses("weights of 5 bits, expected 2, 3, 4 or 8",
            WeightOnlyModels.Create(WeightOnlyModels.Layer(new QuantizationScheme(5, true, Granularity.Channel))));
        Refuses("one scale per tensor, expected one per channel or group",
            WeightOnlyModels.Create(WeightOnlyModels.Layer(new QuantizationScheme(4, true, Granularity.Tensor))));
        Refuses("expected integers with a zero point",
            WeightOnlyModels.Create(WeightOnlyModels.Layer(QuantizationScheme.CreateStretched(2, Granularity.Channel))));
        Refuses("expected float inputs",
            WeightOnlyModels.Create(
            WeightOnlyModels.Layer(Int4) with { Input = new ActivationQuantization(new QuantizationScheme(8, true, Granularity.Token), null) }));
        Refuses("transforms its input", WeightOnlyModels.Create(WeightOnlyModels.Layer(Int4) with { InputTransform = InputTransform.Hadamard }));
        Refuses("is a convolution", WeightOnlyModels.Create(WeightOnlyModels.Layer(Int4) with { Shape = [8, 16, 2, 2] }));
        Refuses("expected one scheme for all quantized layers", WeightOnlyModels.Create(
            WeightOnlyModels.Layer(Int4),
            WeightOnlyModels.Layer(new QuantizationScheme(
            8, false, Granularity.Group(32))
            { ScalePrecision = ScalePrecision.Float16 }) with
            { Name = "other" }));
        Refuses("key-value cache", WeightOnlyModels.Create(WeightOnlyModels.Layer(Int4)) with { Recipe = RecipePresets.Parse("w4a16-g32-kv8") });
        Refuses("No layer of the model is quantized", WeightOnlyModels.Create(WeightOnlyModels.Layer(Int4)) with { Layers = [] });
        var layer = WeightOnlyModels.Layer(new QuantizationScheme(4, true, Granularity.Channel));
        layer.Weight.Scales[0] = 1 / 3f;
        Refuses("scales that binary16 cannot represent", WeightOnlyModels.Create(layer));

        void Refuses(string message, QuantizedModel model)
        {
            Assert.Contains(message, Assert.Throws<NibbleException>(() => GptqFile.Save(model, folder.File("out"), GptqVersion.V1)).Message,
                StringComparison.Ordinal);
            Assert.False(Path.Exists(folder.File("out")));
        }
    }

    [Theory]
    [InlineData("\"bits\": 4", "\"bits\": 5", "bits is 5, expected 2, 3, 4 or 8")]
    [InlineData("\"bits\": 4", "\"bots\": 4", "bits is missing")]
    [InlineData("\"group_size\": 32", "\"group_size\": 0", "group_size is 0, expected -1 or above 0")]
    [InlineData("\"group_size\": 32", "\"group_size\": 64", "qzeros: expected I32 [1, 1], found I32 [2, 1]")]
    [InlineData("\"sym\": false", "\"sym\": \"no\"", "sym is \"no\", expected true or false")]
    [InlineData("\"sym\": false", "\"sym\": true", "has the zero point 9, but sym says that all are 8")]
    [InlineData("\"checkpoint_format\": \"gptq_v2\"", "\"checkpoint_format\": \"marlin\"", "checkpoint_format is marlin, whose tensor layout is "
        + "specific to one engine's kernels; expected gptq or gptq_v2")]
    [InlineData("\"quant_method\": \"gptq\"", "\"quant_method\": \"awq\"", "quant_method is awq, expected gptq")]
    [InlineData("\"lm_head\": false", "\"dynamic\": { \"+:.*up.*\": { \"bits\": 6 } }", "dynamic, +:.*up.*: bits is 6, expected 2, 3, 4 or 8")]
    public void LoadSaysWhatIsWrongWithTheConfiguration(string old, string with, string message)
    {
        GptqFile.Save(WeightOnlyModels.Create(WeightOnlyModels.Layer(Int4)), folder.File("model"), GptqVersion.V2);
        WeightOnlyModels.Replace(folder.File("model/config.json"), old, with);

        Assert.Contains(message, Assert.Throws<NibbleException>(() => GptqFile.Load(folder.File("model"), out _, out _)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void LoadOfABrokenFileGivesAModelOrAClearError()
    {
        GptqFile.Save(WeightOnlyModels.Create(WeightOnlyModels.Layer(Int4)), folder.File("whole"), GptqVersion.V1);
        Gen.Select(Gen.OneOf(Gen.Const("config.json"), Gen.Const("model.safetensors")), Gen.Select(Gen.Double[0, 1], Gen.Byte).Array[1, 4]).Sample(
            (name, changes) =>
            {
                var broken = folder.File($"broken{++number}");
                Directory.CreateDirectory(broken);
                Assert.All(Directory.GetFiles(folder.File("whole")), path => File.Copy(path, Path.Combine(broken, Path.GetFileName(path))));
                WeightOnlyModels.Mutate(Path.Combine(broken, name), changes);
                try
                {
                    Assert.Single(GptqFile.Load(broken, out _, out _).Layers);
                }
                catch (NibbleException exception)
                {
                    Assert.NotEmpty(exception.Message);
                }

                Directory.Delete(broken, recursive: true);
            },
            iter: 3000, threads: 1);
    }

    /// <summary>What GPTQModel computes: <c>scale * (code - zero)</c>, each input's group looked up in g_idx; written from the definition alone.</summary>
    private static float[] Decode(SafetensorsFile file, string layer, int bits, GptqVersion version)
    {
        var (codes, words, outputs) = WeightOnlyModels.Words(file, $"{layer}.qweight");
        var (zeros, _, zeroWords) = WeightOnlyModels.Words(file, $"{layer}.qzeros");
        var (groups, inputs, _) = WeightOnlyModels.Words(file, $"{layer}.g_idx");
        var scales = file.ReadFloats($"{layer}.scales");
        Assert.True(words * 32 >= inputs * bits);
        var weights = new float[outputs * inputs];
        for (var o = 0; o < outputs; o++)
        {
            for (var i = 0; i < inputs; i++)
            {
                var group = (int)groups[i];
                var code = Field(position => codes[(position * outputs) + o], i);
                var zero = Field(position => zeros[(group * zeroWords) + position], o) + (version == GptqVersion.V1 ? 1 : 0);
                weights[(o * inputs) + i] = scales[(group * outputs) + o] * (code - zero);
            }
        }

        return weights;

        int Field(Func<int, uint> word, int number)
        {
            var value = 0;
            for (var bit = 0; bit < bits; bit++)
            {
                var at = (number * bits) + bit;
                value |= (int)((word(at / 32) >> (at % 32)) & 1) << bit;
            }

            return value;
        }
    }
}
