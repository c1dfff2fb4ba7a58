using Nibble.Files;
using System.Text;
using Nibble.Artifacts;
using Nibble.Formats.Safetensors;
using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble.Tests.Formats;

/// <summary>Small models that weight-only checkpoints hold.</summary>
internal static class WeightOnlyModels
{
    public const string Config = """{ "model_type": "llama", "rms_norm_eps": 1e-05, "vocab_size": 7 }""";

    /// <summary>Models of one or two layers of a scheme, with zero points from <paramref name="leastZero"/> above the least code.</summary>
    public static Gen<QuantizedModel> Any(QuantizationScheme scheme, Gen<(int Rows, int Columns)> sizes, int leastZero, bool scattered = false) =>
        from weights in Weight(scheme, sizes, leastZero, scattered).Array[1, 2]
        from bias in Gen.Float[-1, 1].Array[3]
        select Create([.. weights.Select((weight, i) => new QuantizedLayer($"model.layers.{i}.mlp.up_proj", weight, Input: null))]) with
        {
            FloatTensors = [new FloatTensor("model.norm.weight", [3], bias, ElementType.F32),
                new FloatTensor("lm_head.weight", [1, 3], Array.ConvertAll(bias, value => ElementType.BF16.Round(value)), ElementType.BF16)],
        };

    public static QuantizedModel Create(params QuantizedLayer[] layers) => new(
        Config, layers, [], new Recipe("test", [new RecipeRule("*", layers[0].Weight.Scheme)]),
        new Provenance("0.1.0", "ptq", 1, new Dictionary<string, string>(), new Dictionary<string, double>()), string.Empty);

    /// <summary>A layer whose codes, scales and zero points are all the same.</summary>
    public static QuantizedLayer Layer(QuantizationScheme scheme, int rows = 8, int columns = 64, sbyte zeroPoint = 1) => new(
        "model.layers.0.mlp.up_proj",
        new QuantizedTensor(
            rows, columns, scheme, new sbyte[rows * columns], [.. Enumerable.Repeat(0.5f, QuantizedTensor.GroupCount(rows, columns, scheme.Granularity))],
            scheme.Symmetric ? [] : [.. Enumerable.Repeat(zeroPoint, QuantizedTensor.GroupCount(rows, columns, scheme.Granularity))]),
        Input: null);

    public static void AssertEqual(QuantizedModel expected, QuantizedModel actual)
    {
        Assert.Equal(expected.Layers.Select(layer => layer.Name), actual.Layers.Select(layer => layer.Name));
        Assert.All(expected.Layers.Zip(actual.Layers), pair =>
        {
            var (left, right) = (pair.First.Weight, pair.Second.Weight);
            Assert.Equal((left.Rows, left.Columns, left.Scheme.Bits, left.Scheme.Granularity),
                (right.Rows, right.Columns, right.Scheme.Bits, right.Scheme.Granularity));
            Assert.Equal(left.Codes, right.Codes);
            Assert.Equal(left.Scales, right.Scales);
            Assert.Equal(Enumerable.Range(0, left.Columns).Select(left.GroupOf), Enumerable.Range(0, left.Columns).Select(right.GroupOf));
            Assert.Equal(left.Dequantize(), right.Dequantize());
        });
        Assert.Equal(expected.FloatTensors.Select(tensor => (tensor.Name, tensor.StoredAs)),
            actual.FloatTensors.Select(tensor => (tensor.Name, tensor.StoredAs)));
        Assert.All(expected.FloatTensors.Zip(actual.FloatTensors), pair => Assert.Equal(pair.First.Values, pair.Second.Values));
    }

    public static void AssertSameFiles(string expected, string actual)
    {
        Assert.Equal(Directory.GetFiles(expected).Select(Path.GetFileName).Order(), Directory.GetFiles(actual).Select(Path.GetFileName).Order());
        Assert.All(Directory.GetFiles(expected),
            path => Assert.Equal(File.ReadAllBytes(path), File.ReadAllBytes(Path.Combine(actual, Path.GetFileName(path)))));
    }

    /// <summary>Changes bytes of a file here and there.</summary>
    public static void Mutate(string path, IEnumerable<(double Place, byte Value)> changes)
    {
        var bytes = File.ReadAllBytes(path);
        foreach (var (place, value) in changes)
        {
            bytes[(int)(place * (bytes.Length - 1))] = value;
        }

        File.WriteAllBytes(path, bytes);
    }

    public static void Replace(string path, string old, string with) =>
        File.WriteAllText(path, File.ReadAllText(path).Replace(old, with, StringComparison.Ordinal), new UTF8Encoding(false));

    /// <summary>The words of a tensor of 32-bit integers, and its shape.</summary>
    public static (uint[] Words, int Rows, int Columns) Words(SafetensorsFile file, string name)
    {
        var entry = file.Entry(name);
        Assert.Equal(ElementType.I32, entry.ElementType);
        var bytes = file.ReadBytes(name);
        return ([.. Enumerable.Range(0, bytes.Length / 4).Select(i => BitConverter.ToUInt32(bytes, 4 * i))], (int)entry.Shape[0],
            entry.Shape.Count > 1 ? (int)entry.Shape[1] : 1);
    }

    private static Gen<QuantizedTensor> Weight(QuantizationScheme scheme, Gen<(int Rows, int Columns)> sizes, int leastZero, bool scattered) =>
        from size in sizes
        let groups = QuantizedTensor.GroupCount(size.Rows, size.Columns, scheme.Granularity)
        from codes in Gen.Int[scheme.Codes.Min, scheme.Codes.Max].Select(code => (sbyte)code).Array[size.Rows * size.Columns]
        from scales in Gen.Float[1e-3f, 10].Select(scale => (float)(Half)scale).Array[groups]
        from zeroPoints in Gen.Int[scheme.Codes.Min + leastZero, scheme.Codes.Max].Select(zero => (sbyte)zero).Array[scheme.Symmetric ? 0 : groups]
        from order in Gen.Shuffle(Enumerable.Range(0, size.Columns).ToArray())
        select new QuantizedTensor(
            size.Rows, size.Columns, scheme, codes, scales, zeroPoints,
            scattered ? Array.ConvertAll(order, position => position / Math.Min(((PerGroup)scheme.Granularity).Size, size.Columns)) : null);
}
