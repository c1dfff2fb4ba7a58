using Nibble.Tests.Files;
using Nibble.Artifacts;
using Nibble.Formats.Awq;
using Nibble.Formats.Safetensors;
using Nibble.Numerics;

namespace Nibble.Tests.Formats.Awq;

public sealed class AwqFileTests : IDisposable
{
    private static readonly QuantizationScheme Int4 = new(4, symmetric: false, Granularity.Group(32)) { ScalePrecision = ScalePrecision.Float16 };

    private readonly TemporaryFolder folder = new();
    private int number;

    public void Dispose() => folder.Dispose();

    [Fact]
    public void SaveIsDecodedByTheDefinitionAndLoadsAndSavesTheSameBytes() =>
        (from symmetric in Gen.Bool
         from size in Gen.OneOf(Gen.Const(1), Gen.Const(8), Gen.Const(24))
         from model in WeightOnlyModels.Any(
             new QuantizationScheme(4, symmetric, Granularity.Group(size)) { ScalePrecision = ScalePrecision.Float16 },
             Gen.Select(Gen.Int[1, 5], Gen.Int[1, 4], (rows, groups) => (8 * rows, size * groups)), leastZero: 0)
         select model).Sample(
            model =>
            {
                var (first, second) = (folder.File($"{++number}a"), folder.File($"{number}b"));
                AwqFile.Save(model, first);
                using (var file = SafetensorsFile.Open(Path.Combine(first, "model.safetensors")))
                {
                    Assert.All(model.Layers, layer => Assert.Equal(layer.Weight.Dequantize(), Decode(file, layer.Name, layer.Weight.GroupLength)));
                }

                var loaded = AwqFile.Load(first);
                WeightOnlyModels.AssertEqual(model, loaded);
                AwqFile.Save(loaded, second);
                WeightOnlyModels.AssertSameFiles(first, second);
                Directory.Delete(first, recursive: true);
                Directory.Delete(second, recursive: true);
            },
            iter: 150, threads: 1);

    [Fact]
    public void SaveRefusesWhatTheFormatCannotHold()
    {
        Refuses("expected 4 bits in groups", WeightOnlyModels.Create(WeightOnlyModels.Layer(new QuantizationScheme(8, true, Granularity.Group(32)))));
        Refuses("expected 4 bits in groups", WeightOnlyModels.Create(WeightOnlyModels.Layer(new QuantizationScheme(4, true, Granularity.Channel))));
        Refuses("rows of 40 columns, which is not a multiple of the group size 32", WeightOnlyModels.Create(WeightOnlyModels.Layer(Int4, columns: 40)));
        Refuses("12 outputs, expected a multiple of 8", WeightOnlyModels.Create(WeightOnlyModels.Layer(Int4, rows: 12)));
        Refuses("groups of scattered columns", WeightOnlyModels.Create(WeightOnlyModels.Layer(Int4) with
        {
            Weight = new QuantizedTensor(
                8, 64, Int4, new sbyte[512], [.. Enumerable.Repeat(1f, 16)], new sbyte[16], [.. Enumerable.Range(0, 64).Select(column => column % 2)]),
        }));

        void Refuses(string message, QuantizedModel model)
        {
            Assert.Contains(message, Assert.Throws<NibbleException>(() => AwqFile.Save(model, folder.File("out"))).Message, StringComparison.Ordinal);
            Assert.False(Path.Exists(folder.File("out")));
        }
    }

    [Theory]
    [InlineData("\"bits\": 4", "\"bits\": 8", "bits is 8, expected 4")]
    [InlineData("\"version\": \"gemm\"", "\"version\": \"gemv_fast\"",
        "version is gemv_fast, whose tensor layout is specific to one engine's kernels; expected gemm or gemv")]
    [InlineData("\"group_size\": 32", "\"group_size\": 24", "is not the shape of packed codes whose inputs are a multiple of the group size 24")]
    [InlineData("\"group_size\": 32", "\"group_size\": 64", "qzeros: expected I32 [1, 1], found I32 [2, 1]")]
    [InlineData("quantization_config", "something_else", "config.json has no quantization_config")]
    public void LoadSaysWhatIsWrongWithTheConfiguration(string old, string with, string message)
    {
        AwqFile.Save(WeightOnlyModels.Create(WeightOnlyModels.Layer(Int4)), folder.File("model"));
        WeightOnlyModels.Replace(folder.File("model/config.json"), old, with);

        Assert.Contains(message, Assert.Throws<NibbleException>(() => AwqFile.Load(folder.File("model"))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void LoadOfABrokenFileGivesAModelOrAClearError()
    {
        AwqFile.Save(WeightOnlyModels.Create(WeightOnlyModels.Layer(Int4)), folder.File("whole"));
        Gen.Select(Gen.OneOf(Gen.Const("config.json"), Gen.Const("model.safetensors")), Gen.Select(Gen.Double[0, 1], Gen.Byte).Array[1, 4]).Sample(
            (name, changes) =>
            {
                var broken = folder.File($"broken{++number}");
                Directory.CreateDirectory(broken);
                Assert.All(Directory.GetFiles(folder.File("whole")), path => File.Copy(path, Path.Combine(broken, Path.GetFileName(path))));
                WeightOnlyModels.Mutate(Path.Combine(broken, name), changes);
                try
                {
                    Assert.Single(AwqFile.Load(broken).Layers);
                }
                catch (NibbleException exception)
                {
                    Assert.NotEmpty(exception.Message);
                }

                Directory.Delete(broken, recursive: true);
            },
            iter: 3000, threads: 1);
    }

    /// <summary>What AutoAWQ computes: <c>scale * (code - zero)</c>, each word's nibbles put in order first; written from the definition alone.</summary>
    private static float[] Decode(SafetensorsFile file, string layer, int groupSize)
    {
        int[] reverse = [0, 4, 1, 5, 2, 6, 3, 7];
        var (codes, inputs, words) = WeightOnlyModels.Words(file, $"{layer}.qweight");
        var (zeros, _, _) = WeightOnlyModels.Words(file, $"{layer}.qzeros");
        var scales = file.ReadFloats($"{layer}.scales");
        var outputs = 8 * words;
        var weights = new float[outputs * inputs];
        for (var o = 0; o < outputs; o++)
        {
            for (var i = 0; i < inputs; i++)
            {
                var group = i / groupSize;
                weights[(o * inputs) + i] = scales[(group * outputs) + o] * (Nibble(codes[(i * words) + (o / 8)]) - Nibble(zeros[(group * words) + (o / 8)]));
            }

            int Nibble(uint word) => (int)((word >> (4 * reverse[o % 8])) & 15);
        }

        return weights;
    }
}
