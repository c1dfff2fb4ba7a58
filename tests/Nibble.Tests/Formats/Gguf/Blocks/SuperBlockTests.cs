using Nibble.Files;
using System.Globalization;
using Nibble.Formats.Gguf.Blocks;
using Nibble.Formats.Safetensors;
using Nibble.Tests.Samples;
using Nibble.Tests.Shared;

namespace Nibble.Tests.Formats.Gguf.Blocks;

/// <summary>Blocks of 256 values: read as llama.cpp reads them, with no more error than its own.</summary>
public class SuperBlockTests
{
    private const int Columns = 1024;

    public static TheoryData<GgufType> Types { get; } = [GgufType.Q2_K, GgufType.Q3_K, GgufType.Q4_K, GgufType.Q5_K, GgufType.Q6_K];

    /// <summary>Normal, with heavy tails, and away from zero.</summary>
    public static TheoryData<GgufType, string> RandomCases { get; } =
        [
            .. from row in Types
            from kind in (string[])["normal", "student", "laplace", "shifted", "sparse"]
            select new TheoryDataRow<GgufType, string>(row.Data, kind),
        ];

    [Theory]
    [MemberData(nameof(Types))]
    public void AnyBytesAreReadAsLlamaCppReadsThem(GgufType type)
    {
        LlamaCpp.RequireBase();
        Gen.Byte.Array[type.BlockBytes()].List[1, 3].Sample(
            blocks =>
            {
                var bytes = blocks.SelectMany(block => block).ToArray();
                Assert.Equal(GgmlQuantizer.Dequantize(Function(type), bytes, blocks.Count * 256), Restore(type, bytes, blocks.Count * 256));
            },
            iter: 300);
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void AModelsWeightsHaveNoHigherError(GgufType type)
    {
        using var file = SafetensorsFile.Open(StorytellerFolder.Find("model/model.safetensors"));
        foreach (var tensor in file.Tensors.Where(tensor => tensor.Shape.Count == 2))
        {
            AssertNoHigherError(type, file.ReadFloats(tensor.Name), (int)tensor.Shape[1], tensor.Name);
        }
    }

    [Theory]
    [MemberData(nameof(RandomCases))]
    public void RandomWeightsHaveNoHigherError(GgufType type, string kind) => AssertNoHigherError(type, RandomWeights.Of(kind, 32 * Columns), Columns, kind);

    /// <summary>Blocks do not touch each other, whatever their number.</summary>
    [Theory]
    [MemberData(nameof(Types))]
    public void ManyBlocksAreEachAsAlone(GgufType type)
    {
        var codec = BlockCodecs.For(type);
        var values = RandomWeights.Of("student", 7 * 256);
        for (var count = 1; count <= 7; count++)
        {
            var blocks = new byte[count * type.BlockBytes()];
            codec.Quantize(values.AsSpan(0, count * 256), blocks);
            var last = new byte[type.BlockBytes()];
            codec.Quantize(values.AsSpan((count - 1) * 256, 256), last);
            Assert.Equal(last, blocks[^last.Length..]);
        }
    }

    private static void AssertNoHigherError(GgufType type, float[] values, int columns, string what)
    {
        var importance = Array.ConvertAll(RandomWeights.Of("normal", columns), value => MathF.Exp(75 * value));
        foreach (var weights in (float[]?[])[null, importance])
        {
            var theirs = Restore(type, GgmlQuantizer.Quantize(type, values, columns, weights), values.Length);
            var blocks = new byte[values.Length / 256 * type.BlockBytes()];
            var codec = (IWeightedCodec)BlockCodecs.For(type);
            if (weights is null)
            {
                codec.Quantize(values, blocks);
            }
            else
            {
                codec.Quantize(values, Enumerable.Range(0, values.Length).Select(i => weights[i % columns]).ToArray(), blocks);
            }

            var (error, reference) = (Error(Restore(type, blocks, values.Length)), Error(theirs));
            Assert.True(error <= reference, $"{what}, {(weights is null ? "plain" : "weighted")}: squared error {error}, llama.cpp's {reference}");

            double Error(float[] restored)
            {
                var sum = 0d;
                for (var i = 0; i < values.Length; i++)
                {
                    sum += (weights?[i % columns] ?? 1) * Math.Pow(values[i] - (double)restored[i], 2);
                }

                return sum;
            }
        }
    }

    private static float[] Restore(GgufType type, byte[] blocks, int count)
    {
        var values = new float[count];
        BlockCodecs.For(type).Dequantize(blocks, values);
        return values;
    }

    private static string Function(GgufType type) => string.Create(CultureInfo.InvariantCulture, $"dequantize_row_q{type.ToString()[1]}_K");
}
